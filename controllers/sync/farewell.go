package sync

import (
	"fmt"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
)

// drainPause is the time between two drains after one has failed, beside the tries of each.
const drainPause = 5 * time.Minute

// Plan is what to do with a Sync that is being deleted.
type Plan struct {
	// Release says why it may go now; empty when it may not.
	Release string
	// Left : members stay at the destination although they were to be taken out.
	Left bool
	// Stop is the name of a run to end first; empty for none.
	Stop string
	// Drain is the run to start; nil for none.
	Drain *runs.Start
	// Outcome tells what is waited for when it may not go.
	Outcome outcome.Outcome
}

// Farewell says what to do with a Sync that is being deleted: first its run ends, then a drain takes the members out,
// then it goes. It goes without a drain when nothing was ever delivered, when the policy is Retain, and when the
// destination or the Platform is gone: a deletion must not hang on what will never come back.
func Farewell(s *v1alpha1.Sync, f Facts, records []runs.Record, request string, now time.Time) Plan {
	now = now.UTC().Truncate(time.Second)
	wait := func(o outcome.Outcome) Plan { return Plan{Outcome: o} }
	for _, r := range records {
		if r.Active && !r.Drain {
			return Plan{Stop: r.Run.Name, Outcome: outcome.Progress(v1alpha1.ReasonDraining, fmt.Sprintf("run %s is being stopped", r.Run.Name))}
		}
	}
	var drain *runs.Record // the newest
	for i := range records {
		if records[i].Drain {
			drain = &records[i]
			break
		}
	}
	switch {
	case s.Spec.DeletionPolicy == v1alpha1.DeletionRetain:
		return Plan{Release: "deletionPolicy is Retain: the members stay at the destination"}
	case len(records) == 0 && s.Status.LastRun == nil:
		return Plan{Release: "nothing was ever delivered"}
	case drain != nil && !drain.Active && drain.Run.Result == v1alpha1.RunSucceeded:
		return Plan{Release: "every member was taken out of the destination"}
	case f.Destination == nil:
		return Plan{Left: true, Release: fmt.Sprintf("Destination %s is gone, so its members could not be taken out", s.Spec.DestinationRef.Name)}
	case !f.Platform.Found:
		return Plan{Left: true, Release: fmt.Sprintf("Platform %s is gone, so nobody knows which members to take out of Destination %s", f.Platform.Name, f.Destination.Name)}
	case drain != nil && drain.Active:
		return wait(underWay(drain, f.Destination.Name))
	case f.Destination.Spec.Suspend:
		return wait(outcome.Wait(v1alpha1.ReasonSuspended, Suspended(s, f)+"; members are taken out then"))
	case f.Secret != nil && f.Secret.Missing() != "":
		return wait(outcome.Wait(v1alpha1.ReasonSecretNotFound, fmt.Sprintf("Destination %s: %s", f.Destination.Name, f.Secret.Missing())))
	case !f.Platform.Serves:
		return wait(f.Platform.NotServing())
	}
	return attempt(s, f, drain, request, now)
}

// attempt starts a drain, or says when the next one is.
func attempt(s *v1alpha1.Sync, f Facts, failed *runs.Record, request string, now time.Time) Plan {
	slot := now
	if s.DeletionTimestamp != nil {
		slot = s.DeletionTimestamp.Time
	}
	progress := outcome.Progress(v1alpha1.ReasonDraining, fmt.Sprintf("members are being taken out of Destination %s", f.Destination.Name))
	if failed == nil {
		return Plan{Drain: &runs.Start{Name: naming.DrainRun(s.Name, slot), Slot: slot}, Outcome: progress}
	}
	if request != "" && request != s.Status.LastHandledRequest {
		moment := now
		if last := failed.Run.Slot; last != nil && !moment.After(last.Time) {
			moment = last.Add(time.Second) // slots tell which drain is the newest
		}
		return Plan{Drain: &runs.Start{Name: naming.RequestedRun(s.Name, request), Slot: moment, Request: request}, Outcome: progress}
	}
	if failed.Run.Finished != nil {
		slot = failed.Run.Finished.Add(drainPause)
	}
	if now.Before(slot) {
		return Plan{Outcome: outcome.Wait(failed.Run.Reason, fmt.Sprintf(
			"members could not be taken out of Destination %s: %s; it is tried again at %s; to let them stay there, set spec.deletionPolicy of Audience %s to Retain",
			f.Destination.Name, failed.Run.Message, slot.UTC().Format(time.RFC3339), s.Spec.AudienceRef.Name)).Again(slot.Sub(now) + time.Second)}
	}
	return Plan{Drain: &runs.Start{Name: naming.DrainRun(s.Name, slot), Slot: slot}, Outcome: progress}
}

// underWay tells how a drain is going.
func underWay(drain *runs.Record, destination string) outcome.Outcome {
	if drain.Run.Reason != "" {
		return outcome.Wait(drain.Run.Reason, fmt.Sprintf("members are being taken out of Destination %s: %s", destination, drain.Run.Message))
	}
	return outcome.Progress(v1alpha1.ReasonDraining, fmt.Sprintf("members are being taken out of Destination %s", destination))
}
