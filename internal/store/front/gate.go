package front

import (
	"context"
	"sync/atomic"
	"time"
)

// gate lets a bounded number of statements run and a bounded number wait.
type gate struct {
	slots   chan struct{}
	queue   int64
	waiting atomic.Int64
	timeout time.Duration
}

func newGate(concurrent, queue int, timeout time.Duration) *gate {
	return &gate{slots: make(chan struct{}, concurrent), queue: int64(queue), timeout: timeout}
}

// enter waits for a slot. The caller leaves the gate when err is nil. A gate
// whose queue is full, or that kept the caller waiting for too long, answers
// with an overload.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.queue {
		return overload("too many statements wait: the queue of %d is full", g.queue)
	}
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return overload("no statement ended within %s: the store is overloaded", g.timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.slots }

func (g *gate) inUse() int { return len(g.slots) }
