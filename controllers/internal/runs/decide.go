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
	// Deadline is how long after its slot a run may start; 0 for any time.
	Deadline time.Duration
	// CatchUp runs each slot that was missed, and not the newest alone.
	CatchUp bool
	// Intervals says that runs cover time, without gaps: each from where the last one that succeeded ended.
	Intervals bool
}

// maxRequest is how many bytes of a request status.lastHandledRequest echoes (api/v1alpha1).
const maxRequest = 128

// Requested is the value of kohort.dev/requested-at; see Asked.
func Requested(annotations map[string]string) string {
	return Asked(annotations, v1alpha1.RequestedAtAnnotation)
}

// Asked is the value of an annotation, as much of it as the status can echo, cut at a rune's boundary: what is echoed must
// be equal to what is asked for, or it would be asked for for ever.
func Asked(annotations map[string]string, name string) string {
	value := annotations[name]
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
	// From is the beginning of the time that it covers; zero when runs cover none.
	From time.Time
	// Request that it answers; empty when it answers none.
	Request string
}

// Decision is what Decide says.
type Decision struct {
	// Start is the run to start now; nil for none.
	Start *Start
	// Next is when the schedule's next one is; zero for none.
	Next time.Time
	// Missed is the newest slot that was passed over because of its deadline, and that no run has covered since.
	Missed time.Time
}

// Decide says which run to start now, if any, and when the schedule's next one is. newest is the newest run so far.
//
// Of slots that were missed only the newest counts, unless the wish is to catch up: a run takes what is there, and two in a
// row would find nothing new.
//
// One run at a time: while newest is active nothing starts. A request goes before a change, and a change before the
// schedule; whichever it is, the run does everything that is due.
func Decide(wish Wish, newest *Record, now time.Time) (d Decision) {
	now = now.UTC().Truncate(time.Second)
	if wish.Schedule != nil {
		d.Next, _ = wish.Schedule.Next(wish.Anchor, now)
	}
	if newest != nil && newest.Active {
		return d
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
	switch {
	case request != "":
		d.Start = &Start{Name: naming.RequestedRun(wish.Owner, request), Slot: moment, Request: request}
	case changed && (wish.OnChange || wish.OnRepair && newest != nil && newest.failed()):
		d.Start = &Start{Name: naming.ChangedRun(wish.Owner, wish.Order+"/"+wish.Version), Slot: moment}
	case wish.Schedule != nil:
		var slot time.Time
		if slot, d.Missed = wish.due(newest, now); !slot.IsZero() {
			d.Start = &Start{Name: naming.ScheduledRun(wish.Owner, slot), Slot: slot}
		}
	}
	if d.Start != nil && wish.Intervals && wish.Schedule != nil {
		d.Start.From = wish.from(newest, d.Start.Slot)
	}
	return d
}

// due gives the slot to run now, and the newest one that is too old to be run; each may be zero.
func (w Wish) due(newest *Record, now time.Time) (slot, missed time.Time) {
	after := w.Anchor.Truncate(time.Second).Add(-time.Second)
	if newest != nil && newest.Run.Slot != nil {
		after = newest.Run.Slot.Time
	}
	oldest := after // that may be run is the first one after it
	if w.Deadline > 0 {
		if bound := now.Add(-w.Deadline - time.Second); bound.After(after) {
			oldest = bound
			if last, ok := w.Schedule.Last(w.Anchor, bound); ok && last.After(after) {
				missed = last
			}
		}
	}
	next, ok := w.Schedule.Last(w.Anchor, now)
	if w.CatchUp {
		next, ok = w.Schedule.Next(w.Anchor, oldest)
	}
	if !ok || !next.After(oldest) || next.After(now) {
		return time.Time{}, missed
	}
	return next, missed
}

// from is where the run of a slot begins: where the newest one ended, or began if it failed, so that no time is left out.
func (w Wish) from(newest *Record, slot time.Time) time.Time {
	switch {
	case newest == nil || newest.Run.Slot == nil:
		return w.Schedule.Before(slot)
	case newest.failed() && newest.Run.From != nil:
		return newest.Run.From.UTC()
	default:
		return newest.Run.Slot.UTC()
	}
}

// Record is the run as it is right after its Job was made.
func (s Start) Record(order string, generation int64) Record {
	r := Record{
		Run: v1alpha1.Run{
			Name: s.Name, Slot: &metav1.Time{Time: s.Slot}, Order: order, Generation: generation, Result: v1alpha1.RunRunning,
		},
		Active: true, Request: s.Request,
	}
	if !s.From.IsZero() {
		r.Run.From = &metav1.Time{Time: s.From}
	}
	return r
}
