package sync

import (
	"context"
	"time"

	"kohort.dev/kohort/internal/run"
)

// pace spreads requests over time: so many at once as a batch takes, and then a pause for each.
type pace struct {
	interval time.Duration // for a request; 0 for no limit
	next     time.Time     // when the next batch may be sent
}

// wait until a batch may be sent.
func (p *pace) wait(ctx context.Context, clock Clock) error {
	if p.interval == 0 {
		return nil
	}
	if pause := p.next.Sub(clock.Now()); pause > 0 {
		return clock.Sleep(ctx, pause)
	}
	return nil
}

// spend books the requests that a batch took, and at least one: not every destination counts.
func (p *pace) spend(requests int64, began time.Time) {
	if began.After(p.next) {
		p.next = began
	}
	p.next = p.next.Add(p.interval * time.Duration(max(requests, 1)))
}

// under gives the configuration with what an order says of the delivery.
func (c Config) under(d *run.Delivery) Config {
	if d == nil {
		return c
	}
	if d.BatchSize > 0 {
		c.PageRows = min(d.BatchSize, c.PageRows)
	}
	if d.Attempts > 0 {
		c.Policy.Tries = d.Attempts
	}
	if d.MaxDelay > 0 {
		c.Policy.Longest = d.MaxDelay
	}
	if d.Patience > 0 {
		c.Policy.Patience = d.Patience
	}
	return c
}
