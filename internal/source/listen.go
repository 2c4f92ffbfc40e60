package source

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/warpstreamlabs/bento/public/service"

	"kohort.dev/kohort/internal/bento"
	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
)

// ListenOptions of a Listener.
type ListenOptions struct {
	Order   run.ListenOrder
	Secrets Secrets
	Log     Log
	Logger  *slog.Logger
	Metrics *ListenMetrics
	Now     func() time.Time
}

// stopPatience is how long messages that were read may take to be published when a listener ends.
const stopPatience = 20 * time.Second

// Listener reads messages for as long as it runs, and publishes what the mapping makes of them. A message is acknowledged
// to where it came from once its events are on the stream's disk; what is delivered again has the same message ids, and
// counts once. A message that cannot be used goes to quarantine, and those after it go on.
type Listener struct {
	options ListenOptions
	mapping *mapping.Mapping
	stream  *service.Stream
}

// NewListener makes a Listener. It fails with a *run.Failure that names the field when the mapping or the input cannot be
// used.
func NewListener(options ListenOptions) (*Listener, error) {
	l := &Listener{options: options}
	var err error
	if l.mapping, err = compile(options.Order.Mapping); err != nil {
		return nil, err
	}
	config, err := inputConfig(options.Order, options.Secrets)
	if err != nil {
		return nil, err
	}
	builder := bento.NewBuilder(options.Logger)
	if err := builder.AddInputYAML(config); err != nil {
		return nil, l.refuse(err)
	}
	if err := builder.AddBatchConsumerFunc(l.take); err != nil {
		return nil, fmt.Errorf("building the stream: %w", err)
	}
	if l.stream, err = builder.Build(); err != nil {
		return nil, l.refuse(err)
	}
	return l, nil
}

// refuse tells what is wrong with an input. The text quotes keys and no values.
func (l *Listener) refuse(err error) error {
	field := "spec.connector.input"
	switch {
	case l.options.Order.Kafka != nil:
		field = "spec.kafka"
	case l.options.Order.NATS != nil:
		field = "spec.nats"
	}
	return run.Refuse(reasonInvalidSpec, "%s cannot be used: %s; see docs/sources/connector.md for what there is", field, redact(err.Error()))
}

// Ready says whether the input is connected.
func (l *Listener) Ready() bool { return l.stream.IsReady() }

// Run reads until the context ends, and then finishes what was read. It fails with a *run.Failure when the input cannot be
// made of what the order says.
func (l *Listener) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- l.stream.Run(context.WithoutCancel(ctx)) }()
	select {
	case err := <-ended:
		if err != nil { // an input that was made tries again by itself, so this one could not be made
			return l.refuse(err)
		}
		return nil // an input that has an end
	case <-ctx.Done():
	}
	if err := l.stream.StopWithin(stopPatience); err != nil {
		return fmt.Errorf("finishing what was read: %w", err)
	}
	return <-ended
}

// take publishes what comes of a batch of messages; nil acknowledges them all. It is not called concurrently.
func (l *Listener) take(ctx context.Context, batch service.MessageBatch) error {
	order := l.options.Order
	out := newOutlet(ctx, l.options.Log, order.Source, order.Party, l.options.Now)
	p := &pull{Options: Options{Order: run.PullOrder{Source: order.Source, Party: order.Party}, Log: l.options.Log, Now: l.options.Now}, mapping: l.mapping, out: out, released: true}
	for i, message := range batch {
		if err := l.message(ctx, p, i, message); err != nil {
			_ = out.drain(ctx) // the batch comes again
			return err
		}
	}
	if err := out.drain(ctx); err != nil {
		l.options.Logger.Warn("messages are not acknowledged and come again", "messages", len(batch), "error", err.Error())
		return err
	}
	l.options.Metrics.count(p, l.options.Now())
	return nil
}

func (l *Listener) message(ctx context.Context, p *pull, index int, message *service.Message) error {
	raw, err := message.AsBytes()
	if err != nil {
		return fmt.Errorf("reading a message: %w", err)
	}
	metadata := map[string]string{}
	_ = message.MetaWalk(func(name, value string) error { // it fails only when this does
		metadata[name] = value
		return nil
	})
	where := place(metadata)
	r := record{raw: string(raw[:min(len(raw), maxRecord)])}
	r.Number, r.Format, r.Metadata = int64(index)+1, mapping.Text, metadata
	r.Origin = append([]string{"message", l.options.Order.Source}, where...)
	if len(raw) > maxRecord {
		r.fault = mapping.Unreadable(mapping.TooLarge, "the message is longer than %d bytes; its beginning is kept", maxRecord)
	} else {
		r.value, r.fault = r.Value(r.raw)
	}
	return p.take(strings.Join(where, " "))(ctx, r)
}

// places are the metadata that tell where a message stands at its origin, by the input that sets them.
var places = [][]string{
	{"kafka_topic", "kafka_partition", "kafka_offset"},
	{"nats_subject", "nats_sequence_stream"},
	{"redis_stream"},
	{"amqp_message_id"},
}

// place gives what tells a message from every other one at its origin; nothing when the input does not say.
func place(metadata map[string]string) []string {
	for _, names := range places {
		if metadata[names[len(names)-1]] == "" {
			continue
		}
		var out []string
		for _, name := range names {
			out = append(out, metadata[name])
		}
		return out
	}
	return nil
}
