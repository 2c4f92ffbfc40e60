// Package retentionpolicy knows how a RetentionPolicy is doing; the engine enforces it. It is pure: facts in, conditions
// out.
package retentionpolicy

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/schedule"
)

// Invalid is what is wrong with the spec; nil when nothing is.
func Invalid(r *v1alpha1.RetentionPolicy) *outcome.Outcome {
	if age, err := model.ParseDuration(string(r.Spec.MaxAge)); err != nil || age <= 0 {
		o := outcome.Stall(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.maxAge: %q is no length of time such as 90d", r.Spec.MaxAge))
		return &o
	}
	if _, err := schedule.Parse(string(r.GetSchedule()), ""); err != nil {
		o := outcome.Stall(v1alpha1.ReasonInvalidSpec, "spec.schedule: "+err.Error())
		return &o
	}
	return nil
}

// Summary is Ready: what the engine says in Enforced about the current spec, if it can.
func Summary(r *v1alpha1.RetentionPolicy, platform facts.Platform) outcome.Outcome {
	if o := Invalid(r); o != nil {
		return *o
	}
	if r.Spec.Suspend {
		return outcome.Done(v1alpha1.ReasonSuspended, "nothing is deleted; set spec.suspend to false to go on")
	}
	if !platform.Found {
		return platform.NotFound()
	}
	if platform.Suspended {
		return platform.Stopped()
	}
	enforced := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionEnforced)
	switch {
	case enforced != nil && enforced.ObservedGeneration == r.Generation && enforced.Status == metav1.ConditionTrue:
		return outcome.Done(v1alpha1.ReasonReady, enforced.Message)
	case enforced != nil && enforced.ObservedGeneration == r.Generation && enforced.Status == metav1.ConditionFalse:
		return outcome.Wait(enforced.Reason, enforced.Message)
	case !platform.Serves:
		return platform.NotServing()
	default:
		return outcome.Progress(v1alpha1.ReasonAwaitingEnforcement, awaiting(r, platform))
	}
}

func awaiting(r *v1alpha1.RetentionPolicy, platform facts.Platform) string {
	text := fmt.Sprintf("the engine of Platform %s has not enforced generation %d yet", platform.Name, r.Generation)
	if next := r.Status.NextEnforcement; next != nil {
		text += "; it will at " + next.UTC().Format(time.RFC3339)
	}
	return text
}
