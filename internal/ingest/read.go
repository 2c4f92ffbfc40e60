package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/stream"
)

// batch is a part of the stream, taken apart.
type batch struct {
	first, last uint64
	event.Parsed
	bytes int
}

// reader cuts the stream into batches.
type reader struct {
	config  Config
	metrics *metrics

	current *batch
	alone   bool     // current is a message that is a batch by itself
	events  int      // in current, which is somebody else's once it is handed over
	held    *message // arrived after the end of the batch
}

// message is one of the stream.
type message struct {
	event.Message
	pending uint64 // in the stream after it
}

const (
	// fetched bounds what is on its way, in messages and bytes; a message has up to stream.MaxMessage.
	fetchedMessages = 1024
	fetchedBytes    = 4 * stream.MaxMessage
	// silence after which a replay asks whether the messages that it waits for are gone.
	silence = time.Second
)

// run reads from after at.done until ctx ends, and hands each batch over when somebody takes it. A batch grows while the
// one before it is being stored, so batches are large exactly when that pays.
func (r *reader) run(ctx context.Context, at position, out chan<- *batch) error {
	consumer, err := r.config.JetStream.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: at.done + 1,
	})
	if err != nil {
		return fmt.Errorf("reading stream %s from message %d: %w", streamName, at.done+1, err)
	}
	iterator, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(fetchedMessages, fetchedBytes))
	if err != nil {
		return fmt.Errorf("reading stream %s from message %d: %w", streamName, at.done+1, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	messages, failed := make(chan message), make(chan error, 1)
	go func() { failed <- pump(ctx, iterator, messages) }()
	defer func() {
		cancel()
		iterator.Stop()
		<-failed //nolint:errcheck // only its end matters now
	}()

	r.begin(at.done + 1)
	if at.unfinished != nil {
		if err := r.replay(ctx, consumer, *at.unfinished, messages, failed); err != nil {
			return err
		}
		select {
		case out <- r.current:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.begin(at.unfinished.last + 1)
		r.release()
	}
	return r.follow(ctx, messages, failed, out)
}

// begin starts a batch, with room for about as many events as the one before it has.
func (r *reader) begin(first uint64) {
	r.current, r.alone = &batch{first: first, last: first - 1}, false
	r.current.Events = make([]event.Event, 0, r.events+r.events/8)
}

// add puts a message into the batch.
func (r *reader) add(m message) {
	r.current.Add(m.Message)
	r.current.last, r.alone = m.Seq, m.isAlone()
	r.current.bytes += len(m.Data)
	r.events = len(r.current.Events)
	r.metrics.seen.Store(m.Seq)
	r.metrics.pending.Store(m.pending)
}

func (r *reader) empty() bool { return r.current.last < r.current.first }

// release begins a batch with what was held back.
func (r *reader) release() {
	if r.held != nil {
		held := *r.held
		r.held = nil
		r.add(held)
	}
}

// isAlone says whether a message is to be a batch by itself.
func (m message) isAlone() bool { return m.Subject == stream.IdentitySubject }

func (r *reader) full() bool {
	return r.held != nil || r.alone || len(r.current.Events)+len(r.current.Rejections) >= r.config.MaxEvents || r.current.bytes >= r.config.MaxBytes
}

// replay reads the batch of a plan, exactly.
func (r *reader) replay(ctx context.Context, consumer jetstream.Consumer, p plan, messages <-chan message, failed chan error) error {
	for r.current.last < p.last {
		select {
		case m := <-messages:
			if m.Seq > p.last { // the rest of the batch has aged out, or was erased
				r.held = &m
				r.current.last = p.last
				break
			}
			r.add(m)
		case <-time.After(silence):
			info, err := consumer.Info(ctx)
			if err == nil && info.NumPending == 0 && info.Delivered.Stream <= r.current.last {
				r.current.last = p.last // there is no message after those that came
			}
		case err := <-failed:
			failed <- err
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// follow reads on and on.
func (r *reader) follow(ctx context.Context, messages <-chan message, failed chan error, out chan<- *batch) error {
	linger := time.NewTimer(r.config.Linger)
	ripe := !r.empty()
	for {
		in, to := messages, out
		if r.full() {
			in = nil
		} else if !ripe {
			to = nil
		}
		select {
		case m := <-in:
			if m.isAlone() && !r.empty() {
				r.held = &m
				break
			}
			if r.empty() {
				linger.Reset(r.config.Linger)
			}
			r.add(m)
		case <-linger.C:
			ripe = !r.empty()
		case to <- r.current:
			r.begin(r.current.last + 1)
			r.release()
			ripe = !r.empty()
		case err := <-failed:
			failed <- err
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pump takes messages from the iterator, which heals itself when the stream was away.
func pump(ctx context.Context, iterator jetstream.MessagesContext, to chan<- message) error {
	for {
		m, err := iterator.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("reading stream %s: %w", streamName, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("reading stream %s: %w", streamName, err)
		}
		next := message{
			Message: event.Message{Seq: meta.Sequence.Stream, Subject: m.Subject(), Stored: meta.Timestamp, Data: m.Data()},
			pending: meta.NumPending,
		}
		select {
		case to <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
