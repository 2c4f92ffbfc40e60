package sync

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/destination"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/internal/run"
)

// maxHistory is how many finished runs the status keeps.
const maxHistory = 10

// Suspended says who stopped the Sync; empty when nobody did.
func Suspended(s *v1alpha1.Sync, f Facts) string {
	switch {
	case s.Spec.Suspend:
		return "no run is started; set spec.suspend of the Audience to false to go on"
	case f.Destination != nil && f.Destination.Spec.Suspend:
		return fmt.Sprintf("no run is started; set spec.suspend of Destination %s to false to go on", f.Destination.Name)
	default:
		return ""
	}
}

// Missing is what has to be there before a run may start; nil when all is there.
func Missing(s *v1alpha1.Sync, f Facts) *outcome.Outcome {
	var o outcome.Outcome
	switch {
	case !f.Platform.Found:
		o = f.Platform.NotFound()
	case f.Audience == nil:
		o = outcome.Wait(v1alpha1.ReasonAudienceNotFound, fmt.Sprintf("there is no Audience %s in this namespace", s.Spec.AudienceRef.Name))
	case f.Audience.DeletionTimestamp != nil:
		o = outcome.Progress(v1alpha1.ReasonDraining, fmt.Sprintf("Audience %s is being deleted", f.Audience.Name))
	case f.Destination == nil:
		o = outcome.Wait(v1alpha1.ReasonDestinationNotFound, fmt.Sprintf("there is no Destination %s in this namespace; create it, or take it out of Audience %s", s.Spec.DestinationRef.Name, s.Spec.AudienceRef.Name))
	case f.Destination.Spec.PlatformRef != s.Spec.PlatformRef:
		o = outcome.Stall(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("Destination %s belongs to Platform %s and the Audience to %s; both must be of one Platform", f.Destination.Name, f.Destination.Spec.PlatformRef.Name, s.Spec.PlatformRef.Name))
	case destination.Refuses(f.Destination, s.Spec.Mode) != "":
		o = outcome.Stall(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("mode, which is spec.destinations[%s].mode of Audience %s: %s", f.Destination.Name, s.Spec.AudienceRef.Name, destination.Refuses(f.Destination, s.Spec.Mode)))
	case f.Secret != nil && f.Secret.Missing() != "":
		o = outcome.Wait(v1alpha1.ReasonSecretNotFound, fmt.Sprintf("Destination %s: %s", f.Destination.Name, f.Secret.Missing()))
	case !f.Platform.Serves:
		o = f.Platform.NotServing()
	default:
		if _, current := f.EvaluatedGeneration(); current {
			return nil
		}
		if c := meta.FindStatusCondition(f.Audience.Status.Conditions, v1alpha1.ConditionEvaluated); c != nil &&
			c.Reason == v1alpha1.ReasonChangeTooLarge && c.ObservedGeneration == f.Audience.Generation {
			o = outcome.Wait(c.Reason, fmt.Sprintf("generation %d of Audience %s would change too much: approve or correct it there; what the destination holds stays", f.Audience.Generation, f.Audience.Name))
			break
		}
		o = outcome.Progress(v1alpha1.ReasonAwaitingEvaluation, fmt.Sprintf("the engine has not evaluated generation %d of Audience %s yet", f.Audience.Generation, f.Audience.Name))
	}
	return &o
}

// Summary is Ready of a Sync that nothing is missing for.
func Summary(verdict runs.Verdict) outcome.Outcome {
	if verdict.Outcome != nil {
		return *verdict.Outcome
	}
	return outcome.Progress(v1alpha1.ReasonProgressing, "the run is about to start")
}

// Describe tells what a run did.
func Describe(r run.Report) string {
	return runs.Describe(
		runs.Amount{Word: "members held", N: r.Members},
		runs.Amount{Word: "added", N: r.Added}, runs.Amount{Word: "updated", N: r.Updated}, runs.Amount{Word: "removed", N: r.Removed},
		runs.Amount{Word: "rejected", N: r.Rejected}, runs.Amount{Word: "suppressed", N: r.Suppressed})
}

// Run is a record as the status shows it.
func Run(r *runs.Record) v1alpha1.SyncRun {
	return v1alpha1.SyncRun{
		Run: r.Run, Added: r.Report.Added, Updated: r.Report.Updated, Removed: r.Report.Removed,
		Rejected: r.Report.Rejected, Retried: r.Report.Retried, Revision: r.Report.Revision, Suppressed: r.Report.Suppressed,
	}
}

// Remembered is the record of the run that the status shows; nil without one.
func Remembered(s *v1alpha1.Sync) *runs.Record {
	if s.Status.LastRun == nil {
		return nil
	}
	return record(*s.Status.LastRun)
}

func record(r v1alpha1.SyncRun) *runs.Record {
	return &runs.Record{Run: r.Run, Report: run.Report{
		Added: r.Added, Updated: r.Updated, Removed: r.Removed, Rejected: r.Rejected, Retried: r.Retried, Revision: r.Revision, Suppressed: r.Suppressed,
	}}
}

// LastFinished is the newest finished run that the history shows; nil without one.
func LastFinished(s *v1alpha1.Sync) *v1alpha1.SyncRun {
	if len(s.Status.History) == 0 {
		return nil
	}
	return &s.Status.History[0]
}

// Account writes what the runs did into the status: the newest one, the history, and what the destination holds.
func Account(s *v1alpha1.Sync, records []runs.Record, newest, finished *runs.Record) {
	if newest != nil {
		last := Run(newest)
		s.Status.LastRun = &last
	}
	s.Status.History = history(s.Status.History, records)
	if finished == nil || !counted(finished.Report) {
		return // what the destination holds is what it held
	}
	members := finished.Report.Members
	s.Status.Members, s.Status.Pending, s.Status.Rejections = &members, finished.Report.Pending, runs.Rejections(finished.Report)
}

// counted says that a report knows what the destination holds: a run that failed before it got there does not.
func counted(r run.Report) bool {
	return r.Result == v1alpha1.RunSucceeded || r.Result != "" && (r.Members != 0 || r.Pending != 0)
}

// history merges finished runs into the history, newest first.
func history(old []v1alpha1.SyncRun, records []runs.Record) []v1alpha1.SyncRun {
	all := slices.Clone(old)
	for i := range records {
		known := slices.ContainsFunc(old, func(h v1alpha1.SyncRun) bool { return h.Name == records[i].Run.Name })
		if !records[i].Active && !known {
			all = append(all, Run(&records[i]))
		}
	}
	slices.SortStableFunc(all, func(a, b v1alpha1.SyncRun) int {
		if a.Slot == nil || b.Slot == nil {
			return 0
		}
		return b.Slot.Compare(a.Slot.Time)
	})
	return all[:min(len(all), maxHistory)]
}
