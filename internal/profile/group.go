package profile

import (
	"context"
	"slices"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/warehouse"
)

const (
	// flights is how many groups are looked up at once. A statement costs the warehouse much the same for one key as for
	// ten, so while two are on their way it is cheaper to wait for the next than to be a third.
	flights = 2
	// most keys of a group: what is waited for is bounded too.
	most = 32
)

// Finder looks customers up, those that are asked for at the same time in the same statements. It keeps nothing: what it
// gives is what the warehouse said after it was asked.
type Finder struct {
	flights chan struct{}
	mu      sync.Mutex
	waiting []*asked
}

// asked is one look-up. started is closed when it is on its way, done when p and err are there.
type asked struct {
	key           Key
	started, done chan struct{}
	p             *Profile
	err           error
}

// NewFinder gives one that is ready.
func NewFinder() *Finder { return &Finder{flights: make(chan struct{}, flights)} }

// Find gives the customer whom a key belongs to, with audiences and without the other parts. It is [ErrNotFound] when
// there is none.
func (f *Finder) Find(ctx context.Context, conn driver.Conn, key Key) (*Profile, error) {
	a := &asked{key: key, started: make(chan struct{}), done: make(chan struct{})}
	f.mu.Lock()
	f.waiting = append(f.waiting, a)
	f.mu.Unlock()
	free, started := f.flights, a.started
	for {
		select {
		case free <- struct{}{}:
			f.fly(ctx, conn)
			<-f.flights
		case <-started:
			free, started = nil, nil
		case <-a.done:
			return a.p, a.err
		case <-ctx.Done():
			f.leave(a)
			return nil, ctx.Err()
		}
	}
}

// fly looks up who waits. The one whose request it is may leave; the others stay, within the same time.
func (f *Finder) fly(ctx context.Context, conn driver.Conn) {
	f.mu.Lock()
	group := slices.Clone(f.waiting[:min(most, len(f.waiting))])
	f.waiting = slices.Delete(f.waiting, 0, len(group))
	f.mu.Unlock()
	if len(group) == 0 {
		return
	}
	deadline, ok := ctx.Deadline()
	ctx = context.WithoutCancel(ctx)
	if ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	for _, a := range group {
		close(a.started)
	}
	look(ctx, conn, group)
	for _, a := range group {
		close(a.done)
	}
}

// look answers a group. When the group cannot be looked up for a reason that does not pass, each is looked up alone, so
// that none fails with another.
func look(ctx context.Context, conn driver.Conn, group []*asked) {
	keys := make([]Key, len(group))
	for i, a := range group {
		keys[i] = a.key
	}
	found, err := find(ctx, conn, keys)
	if err != nil && len(group) > 1 && ctx.Err() == nil && !warehouse.IsRetryable(err) {
		for i := range group {
			look(ctx, conn, group[i:i+1])
		}
		return
	}
	for i, a := range group {
		switch {
		case err != nil:
			a.err = err
		case found[i] == nil:
			a.err = ErrNotFound
		default:
			a.p = found[i]
		}
	}
}

func (f *Finder) leave(a *asked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.waiting, a); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
}
