package controllers

import (
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"kohort.dev/kohort/api/v1alpha1"
	meaning "kohort.dev/kohort/internal/audience"
)

// references are the names of the Audiences that an Audience asks for.
func references(a *v1alpha1.Audience) []string { return slices.Clone(meaning.References(a)) }

// evaluated lets through what a person asks of an Audience, and the engine's word on it. The engine also writes sizes and
// times every minute, which change nothing here.
func evaluated() predicate.Predicate {
	type seen struct {
		wish       wish
		evaluated  condition
		message    string
		generation int64
	}
	return changed(func(a *v1alpha1.Audience) any {
		s := seen{wish: wishes(a), evaluated: conditionOf(a.Status.Conditions, v1alpha1.ConditionEvaluated), generation: -1}
		if a.Status.EvaluatedGeneration != nil {
			s.generation = *a.Status.EvaluatedGeneration
		}
		if s.evaluated.status != "True" {
			s.message = messageOf(a.Status.Conditions, v1alpha1.ConditionEvaluated)
		}
		return s
	})
}

// enforced lets through what a person asks of a RetentionPolicy, and the engine's word on it.
func enforced() predicate.Predicate {
	type seen struct {
		wish     wish
		enforced condition
		message  string
	}
	return changed(func(r *v1alpha1.RetentionPolicy) any {
		return seen{wish: wishes(r), enforced: conditionOf(r.Status.Conditions, v1alpha1.ConditionEnforced), message: messageOf(r.Status.Conditions, v1alpha1.ConditionEnforced)}
	})
}

// syncMoves is what an Audience and a Destination need to know of a Sync: how it is, and how its newest runs are.
func syncMoves() predicate.Predicate {
	type seen struct {
		wish    wish
		spec    v1alpha1.SyncSpec
		ready   condition
		message string
		last    *v1alpha1.SyncRun
	}
	return changed(func(s *v1alpha1.Sync) any {
		return seen{
			wish: wishes(s), spec: s.Spec, ready: conditionOf(s.Status.Conditions, v1alpha1.ConditionReady),
			message: messageOf(s.Status.Conditions, v1alpha1.ConditionReady), last: s.Status.LastRun,
		}
	})
}
