package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience/membership"
)

// fieldManager of everything the engine writes to the API server.
const fieldManager = "kohort-engine"

// Reasons of the conditions that the engine alone writes; v1alpha1 has those that the operator reads too.
const (
	// ReasonEvaluated : the membership is that of the current generation.
	ReasonEvaluated = "Evaluated"
	// ReasonEnforced : nothing that the policy covers is overdue.
	ReasonEnforced = "Enforced"
	// ReasonOverdue : rows that should be gone are still there after an enforcement.
	ReasonOverdue = "Overdue"
	// ReasonDryRun : the policy only counts.
	ReasonDryRun = "DryRun"
	// ReasonEnforcementFailed : the warehouse refused or did not answer; it is tried again.
	ReasonEnforcementFailed = "EnforcementFailed"
)

// longestMessage of a condition; the API server takes 32 KiB, people read the beginning.
const longestMessage = 1024

// audienceStatus is the current status with the fields that the engine writes as the facts say. f is nil for an Audience
// that nothing is known of yet.
func audienceStatus(a *v1alpha1.Audience, f *audienceFacts, flows map[string]membership.Flow, now time.Time) v1alpha1.AudienceStatus {
	status := *a.Status.DeepCopy()
	if flows != nil {
		flow := flows[a.Name]
		status.Entered24h, status.Exited24h = new(int64(flow.Entered)), new(int64(flow.Left))
	}
	if f == nil || f.verdict == (verdict{}) {
		if meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionEvaluated) == nil {
			setCondition(&status.CommonStatus, v1alpha1.ConditionEvaluated, metav1.ConditionUnknown, verdict{
				generation: a.Generation, reason: v1alpha1.ReasonAwaitingEvaluation, message: awaiting(a),
			}, now)
		}
		return status
	}
	if f.result != nil {
		status.Size, status.Revision = new(int64(f.result.Size)), new(int64(f.result.Revision))
		status.EvaluatedGeneration, status.RolledBackTo = new(f.result.generation), nil
		if f.result.rolledBack > 0 {
			status.RolledBackTo = new(int64(f.result.rolledBack))
		}
		if !f.result.at.IsZero() {
			status.Evaluated = new(metav1.NewTime(f.result.at))
		}
	}
	status.Held = nil
	if h := f.held; h != nil {
		status.Held = &v1alpha1.HeldChange{Token: h.Token, Entering: int64(h.Entered), Leaving: int64(h.Left), Since: metav1.NewTime(h.At)}
	}
	setCondition(&status.CommonStatus, v1alpha1.ConditionEvaluated, truth(f.ok), f.verdict, now)
	return status
}

func awaiting(a *v1alpha1.Audience) string {
	if a.Spec.Suspend {
		return "suspended before it was ever evaluated"
	}
	return "not evaluated yet"
}

// policyStatus is the current status with the fields that the engine writes as the facts say.
func policyStatus(p *v1alpha1.RetentionPolicy, f policyFacts, now time.Time) v1alpha1.RetentionPolicyStatus {
	status := *p.Status.DeepCopy()
	if f.outcome != nil {
		status.Overdue = new(f.outcome.Overdue)
		status.Oldest = timeOrNil(f.outcome.Oldest)
		status.Enforced = timeOrNil(f.enforced)
	}
	if f.deleted != nil {
		status.Deleted = maps.Clone(f.deleted)
	}
	status.NextEnforcement = timeOrNil(f.next)
	setCondition(&status.CommonStatus, v1alpha1.ConditionEnforced, truth(f.ok), f.verdict, now)
	return status
}

func platformStatus(p *v1alpha1.Platform, c *census) v1alpha1.PlatformStatus {
	status := *p.Status.DeepCopy()
	status.Profiles, status.Events, status.SchemaVersion = new(c.profiles), new(c.events), new(c.schema)
	return status
}

func sourceStatus(s *v1alpha1.Source, c *census, now time.Time) v1alpha1.SourceStatus {
	status := *s.Status.DeepCopy()
	count := c.sources[s.Name]
	status.Accepted, status.Rejected = new(count.accepted), new(count.rejected)
	if !count.last.IsZero() { // retention may have deleted every event; the time of the newest one stays known
		status.LastEventTime = new(metav1.NewTime(count.last))
	}
	planStatus(s, c.plans[s.Name], &status, now)
	return status
}

func setCondition(status *v1alpha1.CommonStatus, kind string, truth metav1.ConditionStatus, v verdict, now time.Time) {
	message := v.message
	if len(message) > longestMessage {
		message = message[:longestMessage]
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: truth, Reason: v.reason, Message: message, ObservedGeneration: v.generation,
		LastTransitionTime: metav1.NewTime(now),
	})
}

func truth(ok bool) metav1.ConditionStatus {
	if ok {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func timeOrNil(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return new(metav1.NewTime(t))
}

// share names the part of a kind's status that the engine writes.
type share struct {
	kind      string
	fields    []string
	condition string
	told      bool // an Event is recorded when the condition changes; of the others the operator tells, in Ready
}

var (
	platformShare = share{"Platform", []string{"profiles", "events", "schemaVersion"}, "", false}
	sourceShare   = share{"Source", []string{"accepted", "rejected", "lastEventTime", "trackingPlan"}, v1alpha1.ConditionTrackingPlanFollowed, true}
	audienceShare = share{"Audience", []string{"size", "entered24h", "exited24h", "evaluated", "evaluatedGeneration", "revision", "held", "rolledBackTo"}, v1alpha1.ConditionEvaluated, false}
	policyShare   = share{"RetentionPolicy", []string{"oldest", "overdue", "deleted", "enforced", "nextEnforcement"}, v1alpha1.ConditionEnforced, false}
)

// of cuts the engine's share out of a status, as the API server takes it.
func (s share) of(status any) (map[string]any, error) {
	whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("encoding the status of a %s: %w", s.kind, err)
	}
	out := map[string]any{}
	for _, field := range s.fields {
		if value, ok := whole[field]; ok {
			out[field] = value
		}
	}
	if conditions, ok := whole["conditions"].([]any); ok && s.condition != "" {
		own := slices.DeleteFunc(slices.Clone(conditions), func(c any) bool {
			condition, ok := c.(map[string]any)
			return !ok || condition["type"] != s.condition
		})
		if len(own) > 0 {
			out["conditions"] = own
		}
	}
	return out, nil
}
