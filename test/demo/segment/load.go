package segment

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"kohort.dev/kohort/test/demo/population"
)

// Report says how a load went.
type Report struct {
	Requests int64   `json:"requests"`
	Events   int64   `json:"events"` // acknowledged
	Retries  int64   `json:"retries"`
	Seconds  float64 `json:"seconds"`
}

// Options say how trails are sent.
type Options struct {
	Library     string // that the events say they come from
	Connections int    // requests at once
	// Pace is the time from one request to the next, over all connections; 0 sends as fast as the collector answers.
	Pace time.Duration
	Now  func() time.Time
}

// Load sends trails over several connections. A trail stays on one of them and is sent in order, one request after the
// other, as an SDK's queue does.
func Load(ctx context.Context, c *Client, trails []population.Trail, o Options) (Report, error) {
	var requests, events, retries atomic.Int64
	start := o.Now()
	group, ctx := errgroup.WithContext(ctx)
	next := trailQueue(trails)
	limit := rate.NewLimiter(rate.Inf, 1)
	if o.Pace > 0 {
		limit = rate.NewLimiter(rate.Every(o.Pace), 1)
	}
	for range o.Connections {
		group.Go(func() error {
			for trail, ok := next(); ok; trail, ok = next() {
				for _, session := range trail.Sessions {
					if err := limit.Wait(ctx); err != nil {
						return fmt.Errorf("keeping the pace: %w", err)
					}
					payload, err := Encode(session, o.Library, o.Now())
					if err != nil {
						return err
					}
					again, err := c.Send(ctx, payload)
					retries.Add(int64(again))
					if err != nil {
						return err
					}
					requests.Add(1)
					events.Add(int64(len(session.Events)))
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return Report{Requests: requests.Load(), Events: events.Load(), Retries: retries.Load(), Seconds: o.Now().Sub(start).Seconds()}, err
}

// trailQueue hands each trail out once.
func trailQueue(trails []population.Trail) func() (population.Trail, bool) {
	var lock sync.Mutex
	return func() (population.Trail, bool) {
		lock.Lock()
		defer lock.Unlock()
		if len(trails) == 0 {
			return population.Trail{}, false
		}
		trail := trails[0]
		trails = trails[1:]
		return trail, true
	}
}
