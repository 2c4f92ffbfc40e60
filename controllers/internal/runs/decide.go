// Package runs knows about the Jobs of a Source or a Sync: when the next one is due, how one went, and which old ones
// may go. It is pure.
package runs

import (
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/schedule"
)

// Wish is what decides whether a run is due.
type Wish struct {
	// Owner is the name of the Source or Sync.
	Owner string
	// Anchor is when the owner was made.
	Anchor time.Time
	// Schedule is nil when runs come only from changes and requests.
	Schedule *schedule.Schedule
	// Request is what Requested gives, Handled the value that was acted on last.
	Request, Handled string
	// Order is the fingerprint of what a run would be asked to do now.
	Order string
	// Version tells this state of the spec from an earlier one with the same Order: generations of all that goes in.
	Version string
	// OnChange makes a run due at once when Order is not the newest run's. A first run is a change too.
	OnChange bool
	// OnRepair does so only when the newest run failed: an edit after a failure is a repair.
	OnRepair bool
}

// maxRequest is how many bytes of a request status.lastHandledRequest echoes (api/v1alpha1).
const maxRequest = 128

// Requested is the value of kohort.dev/requested-at, as much of it as the status can echo, cut at a rune's boundary: what
// is echoed must be equal to what is asked for, or it would be asked for for ever.
func Requested(annotations map[string]string) string {
	value := annotations[v1alpha1.RequestedAtAnnotation]
	n := min(len(value), maxRequest)
	for n > 0 && n < len(value) && !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n]
}

// Start is a run to be made.
type Start struct {
	// Name of its Job.
	Name string
	// Slot it stands for, UTC, in seconds.
	Slot time.Time
	// Request that it answers; empty when it answers none.
	Request string
}

// Decide says which run to start now, if any, and when the schedule's next one is. newest is the newest run so far.
//
// One run at a time: while newest is active nothing starts. A request goes before a change, and a change before the
// schedule; whichever it is, the run does everything that is due.
func Decide(wish Wish, newest *Record, now time.Time) (start *Start, next time.Time) {
	now = now.UTC().Truncate(time.Second)
	if wish.Schedule != nil {
		next, _ = wish.Schedule.Next(wish.Anchor, now)
	}
	if newest != nil && newest.Active {
		return nil, next
	}
	// Slots have seconds; each is later than the one before, so that they tell which run is the newest.
	moment := now
	if newest != nil && newest.Run.Slot != nil && !moment.After(newest.Run.Slot.Time) {
		moment = newest.Run.Slot.Add(time.Second)
	}
	request := ""
	if wish.Request != wish.Handled {
		request = wish.Request
	}
	changed := newest == nil || newest.Run.Order != wish.Order
	if request != "" {
		return &Start{Name: naming.RequestedRun(wish.Owner, request), Slot: moment, Request: request}, next
	}
	if changed && (wish.OnChange || wish.OnRepair && newest != nil && newest.failed()) {
		return &Start{Name: naming.ChangedRun(wish.Owner, wish.Order+"/"+wish.Version), Slot: moment}, next
	}
	if wish.Schedule == nil {
		return nil, next
	}
	slot, ok := wish.Schedule.Last(wish.Anchor, now)
	if !ok || newest != nil && newest.Run.Slot != nil && !slot.After(newest.Run.Slot.Time) {
		return nil, next
	}
	return &Start{Name: naming.ScheduledRun(wish.Owner, slot), Slot: slot}, next
}

// Record is the run as it is right after its Job was made.
func (s Start) Record(order string, generation int64) Record {
	return Record{
		Run: v1alpha1.Run{
			Name: s.Name, Slot: &metav1.Time{Time: s.Slot}, Order: order, Generation: generation, Result: v1alpha1.RunRunning,
		},
		Active: true, Request: s.Request,
	}
}
