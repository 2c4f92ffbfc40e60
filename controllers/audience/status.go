package audience

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/destination"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
	synced "kohort.dev/kohort/controllers/sync"
	meaning "kohort.dev/kohort/internal/audience"
)

// Invalid is what is wrong with the spec; nil when nothing is.
func Invalid(a *v1alpha1.Audience, f Facts) *outcome.Outcome {
	if err := Schedules(a); err != nil {
		o := outcome.Stall(v1alpha1.ReasonInvalidSpec, err.Error())
		return &o
	}
	for _, d := range a.Spec.Destinations {
		found := f.Destinations[d.Name]
		if found == nil {
			continue
		}
		if found.Spec.PlatformRef != a.Spec.PlatformRef {
			o := outcome.Stall(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.destinations[%s]: Destination %s belongs to Platform %s and this Audience to %s; both must be of one Platform", d.Name, d.Name, found.Spec.PlatformRef.Name, a.Spec.PlatformRef.Name))
			return &o
		}
		if why := destination.Refuses(found, d.GetMode()); why != "" {
			o := outcome.Stall(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.destinations[%s].mode: %s", d.Name, why))
			return &o
		}
	}
	err := meaning.Validate(a, f.Known)
	if err == nil {
		return nil
	}
	o := outcome.Stall(v1alpha1.ReasonInvalidSpec, err.Error())
	var invalid *meaning.Invalid
	if errors.As(err, &invalid) && invalid.Reason == v1alpha1.ReasonAudienceNotFound {
		o = outcome.Wait(invalid.Reason, err.Error())
	}
	return &o
}

// Missing is what an Audience waits for; nil when all is there. An Audience whose destination is missing has Syncs to
// the others nevertheless.
func Missing(a *v1alpha1.Audience, f Facts) *outcome.Outcome {
	if !f.Platform.Found {
		o := f.Platform.NotFound()
		return &o
	}
	for _, d := range a.Spec.Destinations {
		if f.Destinations[d.Name] == nil {
			o := outcome.Wait(v1alpha1.ReasonDestinationNotFound, fmt.Sprintf("spec.destinations[%s]: there is no Destination %s in this namespace; create it, or take it out", d.Name, d.Name))
			return &o
		}
	}
	return nil
}

// Synced counts the destinations that hold the members of the current generation, as a column and as a condition. late
// is the first that does not; its condition Ready tells why.
func Synced(a *v1alpha1.Audience, f Facts) (column string, condition metav1.Condition, late *v1alpha1.Sync) {
	n := 0
	for _, d := range a.Spec.Destinations {
		s := f.Syncs[naming.Sync(a.Name, d.Name)]
		switch {
		case s != nil && holds(a, s):
			n++
		case late == nil && s != nil:
			late = s
		}
	}
	total := len(a.Spec.Destinations)
	condition = metav1.Condition{Type: v1alpha1.ConditionSynced, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		Message: fmt.Sprintf("%d of %d destinations hold the members", n, total)}
	if total == 0 {
		condition.Reason, condition.Message = v1alpha1.ReasonNoDestinations, "spec.destinations is empty"
	}
	if n < total {
		condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonProgressing
		if reason, message := Why(late); reason != "" {
			condition.Reason = reason
			condition.Message += "; " + message
		}
	}
	return fmt.Sprintf("%d/%d", n, total), condition, late
}

// holds says that the newest finished run of a Sync delivered the Audience's current generation.
func holds(a *v1alpha1.Audience, s *v1alpha1.Sync) bool {
	last := synced.LastFinished(s)
	return last != nil && last.Result == v1alpha1.RunSucceeded && last.Generation >= a.Generation &&
		meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)
}

// Why gives the reason of a Sync that is not Ready, or suspended, and a message with its destination's name.
func Why(s *v1alpha1.Sync) (reason, message string) {
	if s == nil {
		return "", ""
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue && ready.Reason != v1alpha1.ReasonSuspended {
		return "", ""
	}
	return ready.Reason, fmt.Sprintf("destination %s: %s", s.Spec.DestinationRef.Name, ready.Message)
}

// Summary is Ready of an Audience that is valid and that nothing is missing for.
func Summary(a *v1alpha1.Audience, f Facts, synced metav1.Condition, late *v1alpha1.Sync) outcome.Outcome {
	if a.Spec.Suspend {
		return outcome.Done(v1alpha1.ReasonSuspended, "evaluation and syncs are stopped and the members stay; set spec.suspend to false to go on")
	}
	if o := evaluation(a, f); o != nil {
		return *o
	}
	if synced.Status == metav1.ConditionTrue {
		evaluated := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionEvaluated)
		if evaluated != nil && evaluated.Reason == v1alpha1.ReasonRolledBack {
			return outcome.Done(evaluated.Reason, evaluated.Message+"; "+synced.Message)
		}
		return outcome.Done(v1alpha1.ReasonReady, synced.Message)
	}
	if late != nil && meta.IsStatusConditionTrue(late.Status.Conditions, v1alpha1.ConditionStalled) {
		return outcome.Stall(synced.Reason, synced.Message)
	}
	switch synced.Reason {
	case v1alpha1.ReasonProgressing, v1alpha1.ReasonAwaitingEvaluation, v1alpha1.ReasonPlatformNotReady:
		return outcome.Progress(synced.Reason, synced.Message)
	default:
		return outcome.Wait(synced.Reason, synced.Message)
	}
}

// evaluation is what the engine's condition means for Ready; nil when the membership is current.
func evaluation(a *v1alpha1.Audience, f Facts) *outcome.Outcome {
	var o outcome.Outcome
	evaluated := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionEvaluated)
	current := evaluated != nil && evaluated.ObservedGeneration == a.Generation
	switch {
	case current && (evaluated.Status == metav1.ConditionTrue || evaluated.Reason == v1alpha1.ReasonRolledBack):
		return nil
	case f.Platform.Suspended:
		o = f.Platform.Stopped()
	case current && (evaluated.Reason == v1alpha1.ReasonChangeTooLarge || evaluated.Reason == v1alpha1.ReasonRevisionNotFound):
		o = outcome.Stall(evaluated.Reason, evaluated.Message)
	case current && evaluated.Status == metav1.ConditionFalse:
		message := evaluated.Message
		if evaluated.Reason != v1alpha1.ReasonEvaluationFailed {
			message = strings.TrimSpace(evaluated.Reason + ": " + message)
		}
		o = outcome.Wait(v1alpha1.ReasonEvaluationFailed, message)
	case !f.Platform.Serves:
		o = f.Platform.NotServing()
	default:
		o = outcome.Progress(v1alpha1.ReasonAwaitingEvaluation, fmt.Sprintf("the engine of Platform %s has not evaluated generation %d yet", f.Platform.Name, a.Generation))
	}
	return &o
}

// Draining tells what the deletion of an Audience waits for: the first Sync that is not gone, by name.
func Draining(f Facts) outcome.Outcome {
	names := make([]string, 0, len(f.Syncs))
	for name := range f.Syncs {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return outcome.Progress(v1alpha1.ReasonDraining, "the Syncs are gone")
	}
	reason, message := Why(f.Syncs[names[0]])
	if reason == "" || reason == v1alpha1.ReasonDraining || f.Syncs[names[0]].DeletionTimestamp == nil {
		return outcome.Progress(v1alpha1.ReasonDraining, fmt.Sprintf("members are being taken out of %d destinations", len(names)))
	}
	return outcome.Wait(reason, message)
}
