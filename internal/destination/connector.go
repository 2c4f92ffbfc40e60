package destination

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warpstreamlabs/bento/public/service"

	"kohort.dev/kohort/internal/bento"
	"kohort.dev/kohort/internal/run"
)

// ConnectorConfig tells what a Connector writes to.
type ConnectorConfig struct {
	run.ConnectorTarget
	SecretFiles map[string]string // by the names that the output uses
	Telling
}

// Connector hands a message for each operation to one of Bento's outputs; docs/destinations/connector.md describes it.
type Connector struct {
	config ConnectorConfig
	kind   string // of the output
	holder string
	log    *lastError
	trace  *trace // that is shown messages, if there is one
	// patience is how long the output may take for a batch.
	patience time.Duration

	stream *service.Stream // nil until the first use and after a failure
	send   service.MessageBatchHandlerFunc
	ended  chan error // of stream
}

// connectorStop is how long an output may take to end.
const connectorStop = 5 * time.Second

// NewConnector makes a Connector; it connects at the first use. It fails when the output cannot be used.
func NewConnector(config ConnectorConfig) (*Connector, error) {
	sum := sha256.Sum256(config.Output) // names of secrets and not the secrets
	c := &Connector{config: config, holder: "connector#" + hex.EncodeToString(sum[:16]), log: &lastError{}, patience: RequestTimeout}
	if err := c.build(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Connector) observe(t *trace) { c.trace = t }

// Holder is the output: what else says where the messages are is the output's own.
func (c *Connector) Holder() string { return c.holder }

// build makes a stream of the output, with the secrets as they are now.
func (c *Connector) build() error {
	output, err := bento.Filled(c.config.Output, c.secret)
	var failure *run.Failure
	if errors.As(err, &failure) {
		return err
	}
	if err != nil {
		return run.Refuse(ReasonInvalidSpec, "spec.connector.output %w", err)
	}
	c.kind = strings.Join(slices.Sorted(maps.Keys(output)), ", ")
	config, err := bento.Encode(output)
	if err != nil {
		return err
	}
	builder := bento.NewBuilder(slog.New(c.log))
	if err := builder.AddOutputYAML(config); err != nil {
		return c.refuse(err)
	}
	if c.send, err = builder.AddBatchProducerFunc(); err != nil {
		return fmt.Errorf("building the output: %w", err)
	}
	if c.stream, err = builder.Build(); err != nil {
		return c.refuse(err)
	}
	return nil
}

// refuse tells what is wrong with an output. The text quotes keys and no values.
func (c *Connector) refuse(err error) error {
	return run.Refuse(ReasonInvalidSpec, "spec.connector.output cannot be used: %s; see docs/destinations/connector.md for what there is", scrub(err.Error(), Operation{}))
}

func (c *Connector) secret(name string) (string, error) {
	file, ok := c.config.SecretFiles[name]
	if !ok {
		return "", run.Refuse(ReasonInvalidSpec, "spec.connector.output names ${%s}, which is not in spec.connector.secretRefs", name)
	}
	return readSecret(file, fmt.Sprintf("spec.connector.secretRefs[%s].secretRef", name))
}

// Close lets the output end.
func (c *Connector) Close() error {
	stream, ended := c.stream, c.ended
	c.stream, c.ended = nil, nil
	if ended == nil { // it never began
		return nil
	}
	err := stream.StopWithin(connectorStop)
	return errors.Join(err, <-ended)
}

// The metadata of a message, which an output may use: ${! metadata("kohort_key") }.
const (
	metaKey  = "kohort_key"
	metaType = "kohort_type"
	metaID   = "kohort_id"
)

// Deliver hands a batch to the output and waits until it has acknowledged it; see Destination. Outputs do not tell what is
// wrong with a message from what is wrong with where it goes: whatever fails is tried again, and a row that never goes
// through stays pending.
func (c *Connector) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	messages, err := c.config.messages(batch.Operations)
	if err != nil {
		return nil, err
	}
	err = c.trace.queue("by output "+c.kind, messages, func(m queued) []string {
		return []string{metaKey + ": " + m.key, metaType + ": " + m.kind, metaID + ": " + m.id}
	})
	if err != nil {
		return nil, err
	}
	if c.stream == nil {
		if err := c.build(); err != nil {
			return nil, err
		}
	}
	if c.ended == nil {
		c.ended = make(chan error, 1)
		go func(stream *service.Stream, ended chan error) { ended <- stream.Run(context.WithoutCancel(ctx)) }(c.stream, c.ended)
	}
	out := make(service.MessageBatch, len(messages))
	for i, m := range messages {
		out[i] = service.NewMessage(m.body)
		out[i].MetaSetMut(metaKey, m.key)
		out[i].MetaSetMut(metaType, m.kind)
		out[i].MetaSetMut(metaID, m.id)
	}
	sending, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	if err := c.send(sending, out); err != nil {
		_ = c.Close() // what is under way in it is given up, and a Secret may be another since
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.failure(err, batch.Operations)
	}
	return make([]Result, len(messages)), nil
}

// failure says what an output says, without the values of the rows.
func (c *Connector) failure(err error, operations []Operation) error {
	said := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		said = cmp.Or(c.log.take(), "it took no message within "+c.patience.String())
	}
	for _, o := range operations {
		said = scrub(said, o)
	}
	return &UnavailableError{Err: fmt.Errorf("output %s: %s; check spec.connector.output, and that what it writes to runs", c.kind, scrub(said, Operation{}))}
}

// lastError is a log that keeps the newest error alone: an output that cannot connect tries again and tells nobody else.
type lastError struct {
	mu   sync.Mutex
	text string
}

// Enabled says yes for errors.
func (l *lastError) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

// Handle keeps the message.
func (l *lastError) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = r.Message
	return nil
}

// WithAttrs changes nothing.
func (l *lastError) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup changes nothing.
func (l *lastError) WithGroup(string) slog.Handler { return l }

func (l *lastError) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text
	l.text = ""
	return text
}
