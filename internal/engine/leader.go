package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/warehouse"
)

// leader does what only one process of a Platform may do.
type leader struct {
	store     *store
	ingestion *ingestion
	audiences *evaluation
	retention *enforcement
	counting  *counting
	statuses  *statusWriter
	logger    *slog.Logger

	mu      sync.Mutex
	leading bool
	fault   error // of the schema
}

func newLeader(cfg Config, objects objects, statuses client.StatusClient, recorder events.EventRecorder, store *store, js jetstream.JetStream, metrics *metrics) *leader {
	facts := newFacts()
	return &leader{
		store: store, logger: cfg.Logger,
		ingestion: newIngestion(cfg, objects, js, metrics),
		audiences: &evaluation{
			objects: objects, facts: facts, metrics: metrics, logger: cfg.Logger, now: cfg.Now,
			wake: make(chan struct{}, 1), attempts: map[uid]attempt{},
		},
		retention: &enforcement{
			objects: objects, facts: facts, metrics: metrics, logger: cfg.Logger, now: cfg.Now,
			wake: make(chan struct{}, 1), attempts: map[uid]attempt{},
		},
		counting: &counting{facts: facts, metrics: metrics, logger: cfg.Logger, now: cfg.Now},
		statuses: &statusWriter{
			objects: objects, client: statuses, recorder: recorder, facts: facts, metrics: metrics, logger: cfg.Logger, now: cfg.Now,
			written: map[uid]written{},
		},
	}
}

// watch makes the cache follow the kinds that the engine reads, and lets changes of specs wake the loops.
func (l *leader) watch(ctx context.Context, objects cache.Cache) error {
	for _, w := range []struct {
		kind  client.Object
		wakes []chan struct{}
	}{
		{&v1alpha1.Platform{}, []chan struct{}{l.ingestion.wake, l.audiences.wake}},
		{&v1alpha1.Source{}, []chan struct{}{l.ingestion.wake}},
		{&v1alpha1.Audience{}, []chan struct{}{l.audiences.wake}},
		{&v1alpha1.RetentionPolicy{}, []chan struct{}{l.retention.wake}},
	} {
		informer, err := objects.GetInformer(ctx, w.kind)
		if err != nil {
			return fmt.Errorf("watching %T: %w", w.kind, err)
		}
		all := func() {
			for _, signal := range w.wakes {
				wake(signal)
			}
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { all() },
			DeleteFunc: func(any) { all() },
			UpdateFunc: func(before, after any) {
				if isAsked(before, after) {
					all()
				}
			},
		})
		if err != nil {
			return fmt.Errorf("watching %T: %w", w.kind, err)
		}
	}
	return nil
}

// isAsked says whether an update changed what a person asks for, and not only a status.
func isAsked(before, after any) bool {
	b, okB := before.(client.Object)
	a, okA := after.(client.Object)
	return !okA || !okB || a.GetGeneration() != b.GetGeneration() || request(a.GetAnnotations()) != request(b.GetAnnotations()) ||
		a.GetDeletionTimestamp().IsZero() != b.GetDeletionTimestamp().IsZero()
}

// run leads until ctx ends.
func (l *leader) run(ctx context.Context) error {
	l.set(true, fmt.Errorf("not checked yet"))
	defer l.set(false, nil)
	conn, err := l.store.wait(ctx)
	if err != nil {
		return nil
	}
	if !l.migrate(ctx, conn) {
		return nil
	}
	l.logger.Info("leading")
	return together(ctx,
		func(ctx context.Context) error { return l.ingestion.run(ctx, conn) },
		func(ctx context.Context) error { return l.audiences.run(ctx, conn) },
		func(ctx context.Context) error { return l.retention.run(ctx, conn) },
		func(ctx context.Context) error { return l.counting.run(ctx, conn) },
		l.statuses.run,
	)
}

// migrate brings the schema up to date, as often as it takes. It is false when ctx ended first.
func (l *leader) migrate(ctx context.Context, conn driver.Conn) bool {
	for {
		err := warehouse.Migrate(ctx, conn)
		if ctx.Err() != nil {
			return false
		}
		l.set(true, err)
		if err == nil {
			return true
		}
		l.logger.Warn("bringing the warehouse's schema up to date failed; trying again", "error", err.Error())
		if !pause(ctx, probeEvery) {
			return false
		}
	}
}

func (l *leader) set(leading bool, fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading, l.fault = leading, fault
}

// check is nil while this process does not lead, and while what it leads goes well.
func (l *leader) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.leading:
		return nil
	case l.fault != nil:
		return fmt.Errorf("schema: %w", l.fault)
	}
	return l.ingestion.check()
}

// within runs f under a deadline of its own.
func within(ctx context.Context, d time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
