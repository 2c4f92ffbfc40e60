// Package destination knows how a Destination is doing. It is pure: facts in, conditions out.
package destination

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/outcome"
)

// Facts are what was found in the cluster.
type Facts struct {
	Platform facts.Platform
	Secret   *facts.Secret   // that the spec names: the first that is missing, if one is; nil when it names none
	Syncs    []v1alpha1.Sync // to this Destination
}

// Audiences counts the Audiences that are synced to a Destination.
func Audiences(syncs []v1alpha1.Sync) int64 {
	names := map[string]bool{}
	for _, s := range syncs {
		if s.DeletionTimestamp == nil {
			names[s.Spec.AudienceRef.Name] = true
		}
	}
	return int64(len(names))
}

// Reachable is the condition that the newest runs give: what the newest one that can tell says. A run that failed for a
// reason of its own, such as a warehouse that is away, cannot.
func Reachable(syncs []v1alpha1.Sync) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReachable, Status: metav1.ConditionUnknown,
		Reason: v1alpha1.ReasonAwaitingFirstRun, Message: "no run has tried yet"}
	var newest metav1.Time
	for _, s := range syncs {
		for _, run := range tellers(s) {
			at := moment(run)
			if c.Status != metav1.ConditionUnknown && !newest.Before(&at) {
				continue
			}
			newest = at
			if run.Reason == v1alpha1.ReasonDestinationUnreachable {
				c.Status, c.Reason, c.Message = metav1.ConditionFalse, run.Reason, fmt.Sprintf("run %s: %s", run.Name, run.Message)
			} else {
				c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonReady, fmt.Sprintf("run %s reached it", run.Name)
			}
		}
	}
	return c
}

// tellers are the runs of a Sync that know whether the destination was reached.
func tellers(s v1alpha1.Sync) []v1alpha1.Run {
	var out []v1alpha1.Run
	if last := s.Status.LastRun; last != nil {
		out = append(out, last.Run)
	}
	for _, run := range s.Status.History {
		out = append(out, run.Run)
	}
	n := 0
	for _, run := range out {
		if run.Result == v1alpha1.RunSucceeded || run.Reason == v1alpha1.ReasonDestinationUnreachable {
			out[n] = run
			n++
		}
	}
	return out[:n]
}

// moment is when a run ended, or began if it has not.
func moment(run v1alpha1.Run) metav1.Time {
	for _, at := range []*metav1.Time{run.Finished, run.Started, run.Slot} {
		if at != nil {
			return *at
		}
	}
	return metav1.Time{}
}

// Summary is Ready.
func Summary(d *v1alpha1.Destination, f Facts, reachable metav1.Condition) outcome.Outcome {
	switch {
	case d.Spec.Suspend:
		return outcome.Done(v1alpha1.ReasonSuspended, "no run to this destination is started; set spec.suspend to false to go on")
	case !f.Platform.Found:
		return f.Platform.NotFound()
	case f.Secret != nil && f.Secret.Missing() != "":
		return outcome.Wait(v1alpha1.ReasonSecretNotFound, f.Secret.Missing())
	case reachable.Status == metav1.ConditionFalse:
		return outcome.Wait(reachable.Reason, reachable.Message)
	default:
		return outcome.Done(v1alpha1.ReasonReady, reachable.Message)
	}
}
