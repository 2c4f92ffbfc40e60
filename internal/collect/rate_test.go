package collect

import (
	"fmt"
	"testing"
	"time"

	"kohort.dev/kohort/internal/stream"
)

func TestRateMakesUpForWhatWasTaken(t *testing.T) {
	start := time.Unix(1_764_000_000, 0)
	rate := NewRate(10, 20)
	for _, step := range []struct {
		why    string
		after  time.Duration // the start
		events int
		wait   int // 0: taken
	}{
		{"a burst is taken at once", 0, 19, 0},
		{"a batch larger than what is left is taken whole", 0, 31, 0},
		{"who comes next waits until 31 events are made up for", 0, 1, 4},
		{"and not less", 3 * time.Second, 1, 1},
		{"a clock that steps back gives nothing", -time.Hour, 1, 1},
		{"then there is one again", 3100 * time.Millisecond, 1, 0},
		{"after a long time there is a burst, and not more", time.Hour, 20, 0},
		{"not more", time.Hour, 1, 1},
	} {
		wait, ok := rate.take(step.events, start.Add(step.after))
		if wait != step.wait || ok != (step.wait == 0) {
			t.Errorf("%s: got %d, %v; want a wait of %d", step.why, wait, ok, step.wait)
		}
	}
	if _, ok := (*Rate)(nil).take(1_000_000, start); !ok {
		t.Error("without a limit something was refused")
	}
}

// In the long run no more than the rate is taken, whatever the sizes of requests.
func TestRateHoldsInTheLongRun(t *testing.T) {
	rate, now, taken := NewRate(100, 100), time.Unix(1_764_000_000, 0), 0
	for i := range 100_000 { // 100 seconds
		now = now.Add(time.Millisecond)
		if size := 1 + i%37; true {
			if _, ok := rate.take(size, now); ok {
				taken += size
			}
		}
	}
	if taken < 100*100-37 || taken > 100*100+100+37 {
		t.Errorf("%d events were taken in 100 s; 100 a second are allowed", taken)
	}
}

func TestTooManyEventsAreSentLater(t *testing.T) {
	now := received1
	c := newCollector(t, stream.PublisherOptions{}, func(o *HandlerOptions) {
		o.Rate, o.Now = NewRate(5, 10), func() time.Time { return now }
	})
	c.records(t)
	send := func(key string) answered {
		return c.send(t, "POST", "/v1/batch", fmt.Sprintf(`{"batch":[%s{}],"writeKey":%q}`, "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},", key))
	}
	if got := send("other"); got.status != 401 {
		t.Fatalf("a wrong key: got %d", got.status)
	}
	if got := send("test-key"); got.status != 200 {
		t.Fatalf("who has no key takes nothing of another's rate: got %d %s", got.status, got.body)
	}
	got := send("test-key")
	if got.status != 429 || got.header.Get("Retry-After") != "3" || got.header.Get("X-RateLimit-Reset") != "3" {
		t.Fatalf("got %d %s with %v, want 429 and to wait for 3 s", got.status, got.body, got.header)
	}
	now = now.Add(3 * time.Second)
	if got := send("test-key"); got.status != 200 {
		t.Fatalf("after the time that it said: got %d %s", got.status, got.body)
	}
	if stored := c.records(t); len(stored) != 2 {
		t.Errorf("%d requests were stored, want 2", len(stored))
	}
}
