package readiness

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutcomeCountsForAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes, failing := 0, errors.New("disk full")
		var outcome error
		c := New(func() error { probes++; return outcome }, time.Second, time.Minute, time.Now)
		ready := func(want error, after int) {
			t.Helper()
			if err := c.Ready(t.Context()); !errors.Is(err, want) || probes != after {
				t.Errorf("ready gave %v after %d probes, want %v after %d", err, probes, want, after)
			}
		}
		ready(nil, 1)
		ready(nil, 1) // within the second
		outcome = failing
		ready(nil, 1)
		time.Sleep(time.Second)
		ready(failing, 2)
		ready(failing, 2)
		outcome = nil
		time.Sleep(time.Second)
		ready(nil, 3) // recovers by itself
	})
}

func TestSlowProbeIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		c := New(func() error { probes.Add(1); time.Sleep(10 * time.Second); return nil }, time.Second, 4*time.Second, time.Now)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := c.Ready(t.Context()); !errors.Is(err, ErrSlow) {
					t.Errorf("a probe that hangs gave %v, want %v", err, ErrSlow)
				}
			})
		}
		wg.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that gives up got %v", err)
		}
		c.Wait()
		if n := probes.Load(); n != 1 {
			t.Errorf("%d probes ran at once, want 1", n)
		}
		if err := c.Ready(t.Context()); err != nil {
			t.Errorf("after the probe ended ready gave %v", err)
		}
	})
}
