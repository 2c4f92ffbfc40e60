package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/stream"
)

// Log is where events go: a stream.Publisher.
type Log interface {
	// Publish returns nil once the record is on disk.
	Publish(context.Context, stream.Record) error
}

const (
	// batchBytes and batchEvents bound one record of the stream. Together with inFlight they bound the memory of a run.
	batchBytes  = 256 << 10
	batchEvents = 500
	inFlight    = 4
	// publishPatience is how long the stream may be away before the run ends and the Job tries again.
	publishPatience = 2 * time.Minute
)

// outlet gathers events into batches and publishes them, several at a time.
type outlet struct {
	log           Log
	source, party string
	now           func() time.Time

	batch     []byte
	events    int
	sending   *errgroup.Group
	ctx       context.Context // of sending
	published atomic.Int64
}

func newOutlet(ctx context.Context, log Log, source, party string, now func() time.Time) *outlet {
	o := &outlet{log: log, source: source, party: party, now: now}
	o.restart(ctx)
	return o
}

func (o *outlet) restart(ctx context.Context) {
	o.sending, o.ctx = errgroup.WithContext(ctx)
	o.sending.SetLimit(inFlight)
}

// event adds an event. It blocks while enough is on its way.
func (o *outlet) event(body []byte) error {
	if o.events > 0 && len(o.batch)+len(body) > batchBytes {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if o.events == 0 {
		o.batch = append(make([]byte, 0, batchBytes+1024), `{"batch":[`...)
	} else {
		o.batch = append(o.batch, ',')
	}
	o.batch = append(o.batch, body...)
	if o.events++; o.events >= batchEvents {
		return o.flush()
	}
	return nil
}

func (o *outlet) flush() error {
	if o.events == 0 {
		return nil
	}
	o.batch = append(o.batch, `]}`...)
	body, events := o.batch, o.events
	o.batch, o.events = nil, 0
	return o.send(stream.KindBatch, body, func() { o.published.Add(int64(events)) })
}

// refusal is a record for quarantine, as the engine takes it.
type refusal struct {
	Stage    string          `json:"stage"`
	Reason   string          `json:"reason"`
	Message  string          `json:"message"`
	Original string          `json:"original"`
	Record   *mapping.Record `json:"record,omitempty"` // to map it again
}

// quarantine publishes what could not be used.
func (o *outlet) quarantine(refused refusal) error {
	body, err := json.Marshal(refused)
	if err != nil {
		return fmt.Errorf("encoding a record for quarantine: %w", err)
	}
	return o.send(stream.KindQuarantine, body, func() {})
}

func (o *outlet) send(kind stream.Kind, body []byte, done func()) error {
	if err := o.ctx.Err(); err != nil {
		return err // the cause comes from drain
	}
	r := stream.Record{Kind: kind, Received: o.now().UTC(), Source: o.source, Party: o.party, Body: body}
	ctx := o.ctx
	o.sending.Go(func() error {
		if err := publish(ctx, o.log, r); err != nil {
			return err
		}
		done()
		return nil
	})
	return nil
}

// drain returns when everything is acknowledged. What comes after it goes on with ctx.
func (o *outlet) drain(ctx context.Context) error {
	if err := o.flush(); err != nil && o.ctx.Err() == nil {
		return err
	}
	err := o.sending.Wait()
	o.restart(ctx)
	return err
}

// publish tries again while the stream is away: ids of messages and events make that harmless.
func publish(ctx context.Context, log Log, r stream.Record) error {
	patience, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := log.Publish(patience, r)
		if err == nil {
			return nil
		}
		if errors.Is(err, stream.ErrTooLarge) {
			return run.Refuse(reasonRunFailed, "publishing %d bytes: %w; let the NATS server take messages of %d bytes (max_payload)", len(r.Body), err, stream.MaxMessage)
		}
		select {
		case <-time.After(wait):
		case <-patience.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return run.Fail(reasonRunFailed, "the stream did not take events for %s: %w", publishPatience, err)
		}
	}
}

// tally counts what was sent to quarantine, by reason.
type tally struct {
	total   int64
	reasons map[string]*run.Rejection
	first   string
}

func (t *tally) add(where, reason, message string) {
	if t.reasons == nil {
		t.reasons = map[string]*run.Rejection{}
	}
	t.total++
	known, ok := t.reasons[reason]
	if !ok {
		known = &run.Rejection{Reason: reason, Example: strings.TrimSpace(where + ": " + redact(message))}
		t.reasons[reason] = known
		if t.first == "" {
			t.first = known.Example
		}
	}
	known.Count++
}
