package collect

import (
	"math"
	"sync"
	"time"
)

// Rate bounds the events that a write key may bring in a second. It is a bucket that may go into debt: a request is taken
// while anything is left, however many events it holds, and those after it wait until its events have been made up for.
// A bucket that must hold a whole request (golang.org/x/time/rate is one) would refuse a batch larger than itself for
// ever, and its sender would send it for ever.
type Rate struct {
	perSecond, burst float64

	mu   sync.Mutex
	left float64
	at   time.Time // of the last look; zero before the first
}

// NewRate allows eventsPerSecond in the long run and burst at once. Neither may be less than 1.
func NewRate(eventsPerSecond, burst int) *Rate {
	return &Rate{perSecond: float64(eventsPerSecond), burst: float64(burst), left: float64(burst)}
}

// take takes events out of the bucket, or says in how many whole seconds there will be something in it. A nil Rate
// allows everything.
func (r *Rate) take(events int, now time.Time) (wait int, ok bool) {
	if r == nil {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if passed := now.Sub(r.at).Seconds(); r.at.IsZero() {
		r.at = now
	} else if passed > 0 { // clocks may step back
		r.left = min(r.burst, r.left+passed*r.perSecond)
		r.at = now
	}
	if r.left < 1 {
		return max(1, int(math.Ceil((1-r.left)/r.perSecond))), false
	}
	r.left -= float64(events)
	return 0, true
}

// giveBack is for events that were taken and then could not be stored: they will come again.
func (r *Rate) giveBack(events int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = min(r.burst, r.left+float64(events))
}
