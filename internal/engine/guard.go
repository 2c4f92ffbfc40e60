package engine

import (
	"fmt"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience/membership"
)

// guards of Audiences by name.
func guards(due []*v1alpha1.Audience) map[string]membership.Guard {
	out := map[string]membership.Guard{}
	for _, a := range due {
		if g := a.Spec.Guard; g != nil {
			asked := request(a.Annotations)
			out[a.Name] = membership.Guard{
				MaxPercent: g.MaxChangePercent, MinChange: uint64(max(0, g.GetMinChange())),
				Approved: asked.approve, Request: asked.run,
			}
		}
	}
	return out
}

// tell records the outcome of an evaluation.
func (e *evaluation) tell(a *v1alpha1.Audience, result membership.Result, now time.Time) {
	e.metrics.size.WithLabelValues(a.Name).Set(float64(result.Size))
	e.facts.update(func(f *facts) {
		was := f.audiences[a.UID]
		f.audiences[a.UID] = outcome(a, was, result, now)
	})
	if h := result.Held; h != nil {
		e.metrics.evaluations.WithLabelValues("held").Inc()
		e.metrics.held.WithLabelValues(a.Name).Set(float64(h.Entered + h.Left))
		return
	}
	e.metrics.evaluations.WithLabelValues("succeeded").Inc()
	e.metrics.held.WithLabelValues(a.Name).Set(0)
	e.metrics.evaluated.WithLabelValues(a.Name).Set(float64(now.Unix()))
}

// outcome is what is known of an Audience after an evaluation. A change that is kept back leaves the result of before,
// whose generation moves on when the rule is still the same: destinations can be given the members that there are.
func outcome(a *v1alpha1.Audience, was audienceFacts, result membership.Result, now time.Time) audienceFacts {
	h := result.Held
	if h == nil {
		return audienceFacts{
			verdict: verdict{generation: a.Generation, ok: true, reason: ReasonEvaluated, message: "the members are those of this generation"},
			result:  &evaluated{Result: result, at: now, generation: a.Generation},
		}
	}
	out := audienceFacts{
		verdict: verdict{generation: a.Generation, reason: v1alpha1.ReasonChangeTooLarge, message: heldMessage(a, result)},
		result:  was.result, held: h,
	}
	if !result.Stale {
		next := evaluated{Result: result, generation: a.Generation}
		if was.result != nil {
			next.at = was.result.at
		}
		out.result = &next
	}
	return out
}

// heldMessage says what a guard keeps back, and what a person can do.
func heldMessage(a *v1alpha1.Audience, result membership.Result) string {
	h := result.Held
	text := fmt.Sprintf("%d would enter and %d would leave an audience of %d, and spec.guard.maxChangePercent is %d: the members are still those of revision %d. "+
		"To let exactly this change through: kubectl annotate audience %s --namespace %s --overwrite %s=%s. To have it computed anew, set %s; to drop it, correct the rule",
		h.Entered, h.Left, result.Size, a.Spec.Guard.MaxChangePercent, result.Revision, a.Name, a.Namespace, v1alpha1.ApproveAnnotation, h.Token, v1alpha1.RequestedAtAnnotation)
	if given := request(a.Annotations).approve; given != "" {
		text += fmt.Sprintf(" (the annotation names %.64q, which is another change)", given)
	}
	return text
}
