// Package readiness answers whether a store can take data now, by having it
// do so: a probe writes durably, and its outcome is kept for a short time.
package readiness

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Check runs a probe at most once per period, however often it is asked.
type Check struct {
	probe  func() error
	every  time.Duration
	within time.Duration
	now    func() time.Time

	mu      sync.Mutex
	at      time.Time // of the last outcome
	err     error
	running chan struct{} // closed when the probe under way has ended; nil: none
}

// ErrSlow is the outcome of a probe that does not end.
var ErrSlow = errors.New("the durable write of the readiness probe does not end: the disk stalls, or the store is overloaded")

// New makes a Check. An outcome counts for every; a probe that takes longer
// than within counts as failed until it ends.
func New(probe func() error, every, within time.Duration, now func() time.Time) *Check {
	return &Check{probe: probe, every: every, within: within, now: now, err: errors.New("nothing was written yet")}
}

// Ready returns nil when a durable write succeeded within the period, and
// else why not.
func (c *Check) Ready(ctx context.Context) error {
	c.mu.Lock()
	if !c.at.IsZero() && c.now().Sub(c.at) < c.every {
		defer c.mu.Unlock()
		return c.err
	}
	if c.running == nil {
		c.running = make(chan struct{})
		go c.run(c.running)
	}
	running := c.running
	c.mu.Unlock()

	timer := time.NewTimer(c.within)
	defer timer.Stop()
	select {
	case <-running:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	case <-timer.C:
		return ErrSlow
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait returns when no probe is under way.
func (c *Check) Wait() {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running != nil {
		<-running
	}
}

func (c *Check) run(done chan struct{}) {
	err := c.probe()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.err, c.running = c.now(), err, nil
	close(done)
}
