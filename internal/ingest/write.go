package ingest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/warehouse"
)

// writer stores batches, one after the other. It lives for one session: what it holds in memory is what the log and the
// tables say.
type writer struct {
	*Ingest
	conn     driver.Conn
	log      ledger
	dedup    deduplicator
	known    *identity.Warehouse
	resolver *identity.Resolver
	rules    []identity.Rule // of resolver
	terms    termsLedger
	next     uint64       // free profile
	planned  atomic.Int64 // when the plan was last read, Unix nanoseconds
}

// planGoesStale is how long a plan that was read holds without another look.
const planGoesStale = 30 * time.Second

func newWriter(ctx context.Context, i *Ingest, log ledger, at position) (*writer, error) {
	w := &writer{
		Ingest: i, conn: i.config.Conn, log: log, next: at.next,
		dedup: deduplicator{conn: i.config.Conn, window: i.config.Window, clock: i.config.Clock},
		terms: termsLedger{conn: i.config.Conn, clock: i.config.Clock},
	}
	err := w.retry(ctx, func() (err error) {
		if err := log.trim(ctx, at.done); err != nil {
			return err
		}
		if err := w.dedup.load(ctx); err != nil {
			return err
		}
		w.known, err = identity.NewWarehouse(ctx, w.conn)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is stored: %w", err)
	}
	return w, nil
}

// store takes a batch through plan, tables and done. replay is its plan when it has one.
func (w *writer) store(ctx context.Context, b *batch, replay *plan) error {
	p, err := w.plan(ctx, b, replay)
	if err != nil {
		return err
	}
	if b.Unmerge != nil {
		return w.unmerge(ctx, p, b)
	}
	var released []event.Redriven
	var again int
	if err := w.retry(ctx, func() (err error) {
		released, again, err = w.redriven(ctx, p, b)
		return err
	}); err != nil {
		return fmt.Errorf("working out messages %d to %d: %w", p.first, p.last, err)
	}
	judged := judge(&b.Parsed, w.terms.current)
	received := len(b.Events)
	w.dedup.windows = w.terms.current.windows
	var hashes []messageHash
	var changes identity.Changes
	err = w.retry(ctx, func() (err error) {
		events, kept, err := w.dedup.unique(ctx, b.Events, p.first)
		if err != nil {
			return err
		}
		changes, err = w.resolver.Resolve(ctx, identity.Batch{First: p.first, Last: p.last, Next: p.next, Events: events})
		b.Events, hashes = events, kept
		return err
	})
	if err != nil {
		return fmt.Errorf("working out messages %d to %d: %w", p.first, p.last, err)
	}
	duplicates := again + received - len(b.Events)
	hashes = w.turnAway(b, hashes, &changes)
	if err := w.insertAll(ctx, p, rows(b.Events, hashes, b.Rejections, changes, violationRows(judged.violations(b.Events)), releasedRows(released))); err != nil {
		return fmt.Errorf("storing messages %d to %d: %w", p.first, p.last, err)
	}
	if err := w.crash("done"); err != nil {
		return err
	}
	if err := w.log.done(ctx, p, changes.Next); err != nil {
		return fmt.Errorf("storing messages %d to %d: %w", p.first, p.last, err)
	}
	w.dedup.learn(hashes)
	w.next = changes.Next
	w.count(p, b, duplicates)
	w.metrics.dropped.Add(uint64(judged.dropped))
	w.metrics.violating.Add(uint64(judged.violating))
	return nil
}

// plan records what the batch is to be, and takes up its rules.
func (w *writer) plan(ctx context.Context, b *batch, replay *plan) (plan, error) {
	p := plan{first: b.first, last: b.last, next: w.next}
	if err := w.crash("plan"); err != nil {
		return p, err
	}
	if replay != nil {
		p = *replay
	} else {
		p.rules = w.config.Rules()
		if err := identity.Check(p.rules); err != nil {
			return p, err
		}
		var err error
		if p.terms, err = w.terms.record(ctx, w.config.Terms()); err != nil {
			return p, err
		}
		if err := w.log.plan(ctx, p); err != nil {
			return p, err
		}
	}
	if err := w.terms.use(ctx, p.terms); err != nil {
		return p, err
	}
	w.planned.Store(w.config.Clock().UnixNano())
	if w.resolver != nil && slices.EqualFunc(w.rules, p.rules, identity.Rule.Equal) {
		return p, nil
	}
	resolver, err := identity.NewResolver(p.rules, w.known)
	if err != nil {
		return p, err
	}
	w.resolver, w.rules = resolver, p.rules
	return p, nil
}

// stillMine looks at the log again when the plan was read a while ago.
func (w *writer) stillMine(ctx context.Context, p plan) error {
	now := w.config.Clock()
	if now.Sub(time.Unix(0, w.planned.Load())) < planGoesStale {
		return nil
	}
	if err := w.log.confirm(ctx, p); err != nil {
		return err
	}
	w.planned.Store(now.UnixNano())
	return nil
}

// turnAway moves the events that belong to nobody into quarantine, and gives the hashes of the others.
func (w *writer) turnAway(b *batch, hashes []messageHash, c *identity.Changes) []messageHash {
	if !slices.Contains(c.Assigned, 0) {
		return hashes
	}
	kept := 0
	moved := make([]int, len(b.Events)) // where each event is now
	for i := range b.Events {
		if c.Assigned[i] == 0 {
			b.Rejections = append(b.Rejections, b.Events[i].Reject(event.StageIdentity, event.NoIdentifier, w.missing(&b.Events[i])))
			continue
		}
		b.Events[kept], hashes[kept], c.Assigned[kept], moved[i] = b.Events[i], hashes[i], c.Assigned[i], kept
		kept++
	}
	for i := range c.Edges {
		c.Edges[i].Event = moved[c.Edges[i].Event]
	}
	b.Events, c.Assigned = b.Events[:kept], c.Assigned[:kept]
	return hashes[:kept]
}

func (w *writer) missing(e *event.Event) string {
	types := make([]string, len(w.rules))
	for i, r := range w.rules {
		types[i] = r.Type
	}
	what := "the event has no identifier"
	if len(e.Identifiers) > 0 {
		what = "every identifier of the event is blank, blocked or malformed"
	}
	return what + "; the Platform knows customers by " + strings.Join(types, ", ")
}

// insertAll stores the rows in two lanes at once, so that one waits for the disk while the other is encoded.
func (w *writer) insertAll(ctx context.Context, p plan, lanes [2][]table) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		group.Go(func() error {
			for _, t := range lane {
				if reflect.ValueOf(t.columns[0].Values).Len() == 0 {
					continue
				}
				if err := w.crash(t.name); err != nil {
					return err
				}
				if err := w.insert(ctx, p, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// retry is warehouse.Retry that shows in the metrics: the store may be away for long.
func (w *writer) retry(ctx context.Context, do func() error) error {
	return warehouse.Retry(ctx, func() error {
		err := do()
		if warehouse.IsRetryable(err) {
			w.metrics.failed(err)
		}
		return err
	})
}

// count tells the metrics of a batch that is stored.
func (w *writer) count(p plan, b *batch, duplicates int) {
	m := &w.metrics
	m.stored.Add(uint64(len(b.Events)))
	m.duplicates.Add(uint64(duplicates))
	m.quarantined.Add(uint64(len(b.Rejections)))
	m.batches.Add(1)
	m.done.Store(p.last)
	m.lastError.Store(nil)
}
