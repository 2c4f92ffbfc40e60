package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/stream"
)

// ingestion runs the Ingest while the Platform is there and not suspended, and starts it again when it fails.
type ingestion struct {
	objects objects
	plans   *plans
	stream  jetstream.JetStream
	logger  *slog.Logger
	now     func() time.Time
	wake    chan struct{}

	mu       sync.Mutex
	platform *v1alpha1.Platform
	current  *Ingest // nil while it does not run
	fault    error
}

func newIngestion(cfg Config, objects objects, js jetstream.JetStream, metrics *metrics) *ingestion {
	i := &ingestion{objects: objects, plans: &plans{logger: cfg.Logger}, stream: js, logger: cfg.Logger, now: cfg.Now, wake: make(chan struct{}, 1), fault: errors.New("not started yet")}
	metrics.registry.MustRegister(ingestCollector{i.stats})
	return i
}

// running is an Ingest at work.
type running struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // how, once done is closed
}

// start runs an Ingest until it is stopped or ctx ends.
func (i *ingestion) start(ctx context.Context, conn driver.Conn) *running {
	inner, cancel := context.WithCancel(ctx)
	r := &running{cancel: cancel, done: make(chan struct{})}
	ingest := NewIngest(IngestConfig{Conn: conn, JetStream: i.stream, Rules: i.rules, Terms: i.plans.current, Logger: i.logger, Clock: i.now})
	go func() {
		defer close(r.done)
		r.err = ingest.Run(inner)
	}()
	i.set(ingest, nil)
	return r
}

// stop waits until it has ended; nothing when it does not run.
func (r *running) stop() {
	if r == nil {
		return
	}
	r.cancel()
	<-r.done
}

// end tells when it ends by itself; never when it does not run.
func (r *running) end() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.done
}

// run keeps one Ingest running until ctx ends.
func (i *ingestion) run(ctx context.Context, conn driver.Conn) error {
	var work *running
	defer func() { work.stop() }()
	for failures := 0; ; {
		retry := longestWait
		switch wanted, err := i.wanted(ctx, conn); {
		case err != nil:
			i.set(i.current, err)
			retry = retryDelay(failures)
			failures++
		case !wanted:
			work.stop()
			work = nil
			i.set(nil, nil)
		case work == nil:
			work = i.start(ctx, conn)
		default:
			i.set(i.current, nil)
		}
		select {
		case <-work.end():
			work.cancel()
			err := fmt.Errorf("ended by itself: %w", work.err)
			work = nil
			if ctx.Err() != nil {
				return nil
			}
			i.set(nil, err)
			i.logger.Error("ingestion; starting it again", "error", err.Error())
			if !pause(ctx, retryDelay(failures)) {
				return nil
			}
			failures++
		case <-i.wake:
			failures = 0
		case <-time.After(retry):
		case <-ctx.Done():
			return nil
		}
	}
}

// wanted says whether the Platform wants ingestion, and brings the stream and the terms to what it and its Sources ask for.
func (i *ingestion) wanted(ctx context.Context, conn driver.Conn) (bool, error) {
	platform, err := i.objects.get(ctx)
	if err != nil || platform == nil {
		return false, err
	}
	i.mu.Lock()
	i.platform = platform
	i.mu.Unlock()
	if platform.Spec.Suspend {
		return false, nil
	}
	retention, err := model.ParseDuration(string(platform.StreamRetention()))
	if err != nil {
		return false, fmt.Errorf("spec.stream.retention of Platform %s: %w", platform.Name, err)
	}
	if err := checkWindows(platform); err != nil {
		return false, err
	}
	sources, err := i.objects.sources(ctx)
	if err != nil {
		return false, err
	}
	if err := within(ctx, answerTimeout, func(ctx context.Context) error { return i.plans.follow(ctx, conn, sources) }); err != nil {
		return false, err
	}
	err = within(ctx, answerTimeout, func(ctx context.Context) error {
		return stream.EnsureStream(ctx, i.stream, time.Duration(retention))
	})
	if err != nil {
		return false, err
	}
	return true, nil
}

// rules of identity as the Platform has them now.
func (i *ingestion) rules() []identity.Rule {
	i.mu.Lock()
	defer i.mu.Unlock()
	return identityRules(i.platform)
}

// checkWindows refuses what the API server's pattern takes and is no duration: one that is too long.
func checkWindows(p *v1alpha1.Platform) error {
	for i, rule := range p.Identifiers() {
		if _, err := model.ParseDuration(string(rule.Window)); rule.Window != "" && err != nil {
			return fmt.Errorf("spec.identity.identifiers[%d].window of Platform %s: %w; write a time such as 7d", i, p.Name, err)
		}
	}
	return nil
}

func identityRules(p *v1alpha1.Platform) []identity.Rule {
	var rules []identity.Rule
	for _, r := range p.Identifiers() {
		window, _ := model.ParseDuration(string(r.Window)) // wanted refuses what is no duration; an empty one is none
		rules = append(rules, identity.Rule{
			Type: r.Type, Limit: r.Limit, Window: time.Duration(window), Unique: r.Unique, Normalize: r.Normalize,
			Region: r.Region, Blocked: r.BlockedValues, Compose: r.Compose,
		})
	}
	return rules
}

// set is called by run alone.
func (i *ingestion) set(current *Ingest, fault error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current, i.fault = current, fault
}

// stats of the Ingest that runs; false when none does.
func (i *ingestion) stats() (ingest.Stats, bool) {
	i.mu.Lock()
	current := i.current
	i.mu.Unlock()
	if current == nil {
		return ingest.Stats{}, false
	}
	return current.Stats(), true
}

// check is why ingestion does not go on although it should.
func (i *ingestion) check() error {
	i.mu.Lock()
	fault := i.fault
	i.mu.Unlock()
	if fault != nil {
		return fmt.Errorf("ingestion: %w", fault)
	}
	if stats, ok := i.stats(); ok && stats.LastError != "" {
		return fmt.Errorf("ingestion: %s", stats.LastError)
	}
	return nil
}
