package controllers

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/status"
)

var camelCase = regexp.MustCompile(`^[A-Z][A-Za-z]*$`)

// violations are the rules of kstatus, and ours on top of it, that an object's status breaks. It is the contract that
// kubectl wait, Flux and Helm rely on.
func violations(obj status.Object) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	common, generation := obj.Common(), obj.GetGeneration()
	ready := meta.FindStatusCondition(common.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return []string{"Ready is missing"}
	}
	reconciling := meta.FindStatusCondition(common.Conditions, v1alpha1.ConditionReconciling)
	stalled := meta.FindStatusCondition(common.Conditions, v1alpha1.ConditionStalled)
	for _, c := range []*metav1.Condition{reconciling, stalled} {
		if c == nil {
			continue
		}
		if c.Status != metav1.ConditionTrue {
			bad("%s is there and not True", c.Type)
		}
		if c.Reason != ready.Reason || c.Message != ready.Message {
			bad("%s says %s %q and Ready says %s %q", c.Type, c.Reason, c.Message, ready.Reason, ready.Message)
		}
	}
	switch {
	case reconciling != nil && stalled != nil:
		bad("Reconciling and Stalled are there together")
	case ready.Status == metav1.ConditionTrue && (reconciling != nil || stalled != nil):
		bad("Ready is True while Reconciling or Stalled is there")
	case ready.Status != metav1.ConditionTrue && reconciling == nil && stalled == nil:
		bad("Ready is %s and neither Reconciling nor Stalled says what is next", ready.Status)
	}
	if ready.ObservedGeneration != generation {
		bad("Ready is about generation %d of %d", ready.ObservedGeneration, generation)
	}
	handled := ready.Status == metav1.ConditionTrue || stalled != nil
	if handled && common.ObservedGeneration != generation {
		bad("observedGeneration is %d although generation %d was handled", common.ObservedGeneration, generation)
	}
	if common.ObservedGeneration > generation || common.ObservedGeneration == 0 {
		bad("observedGeneration is %d at generation %d", common.ObservedGeneration, generation)
	}
	for _, c := range common.Conditions {
		switch {
		case !camelCase.MatchString(c.Reason):
			bad("%s has the reason %q", c.Type, c.Reason)
		case c.Message == "":
			bad("%s has no message", c.Type)
		case c.ObservedGeneration > generation:
			bad("%s is about a generation that there is not", c.Type)
		case c.LastTransitionTime.IsZero():
			bad("%s has no transition time", c.Type)
		}
	}
	return out
}

// checkAll checks every object of ours in the namespace, once the operator has seen its newest generation.
func (s *scene) checkAll() {
	s.t.Helper()
	ctx := context.WithoutCancel(s.ctx) // it is called after the test, whose context has ended
	for _, list := range []client.ObjectList{
		&v1alpha1.PlatformList{}, &v1alpha1.SourceList{}, &v1alpha1.AudienceList{},
		&v1alpha1.DestinationList{}, &v1alpha1.SyncList{}, &v1alpha1.RetentionPolicyList{},
	} {
		s.Eventually(func(g gomega.Gomega) {
			g.Expect(k8s.List(ctx, list, client.InNamespace(s.namespace))).To(gomega.Succeed())
			items, err := meta.ExtractList(list)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			for _, item := range items {
				obj := item.(status.Object)
				g.Expect(violations(obj)).To(gomega.BeEmpty(), "%T %s: %+v", obj, obj.GetName(), obj.Common())
			}
		}).Should(gomega.Succeed())
	}
}

// The checker is itself checked: one that accepts everything would prove nothing.
func TestCheckerFinds(t *testing.T) {
	condition := func(name string, value metav1.ConditionStatus, change ...func(*metav1.Condition)) metav1.Condition {
		c := metav1.Condition{Type: name, Status: value, Reason: "Why", Message: "why", ObservedGeneration: 2, LastTransitionTime: metav1.Now()}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for _, c := range []struct {
		why        string
		conditions []metav1.Condition
		observed   int64
		broken     bool
	}{
		{"a good Ready", []metav1.Condition{condition("Ready", yes)}, 2, false},
		{"work under way", []metav1.Condition{condition("Ready", no), condition("Reconciling", yes)}, 1, false},
		{"a person is needed", []metav1.Condition{condition("Ready", no), condition("Stalled", yes)}, 2, false},
		{"never handled yet", []metav1.Condition{condition("Ready", no), condition("Reconciling", yes)}, -1, false},
		{"nothing at all", nil, 2, true},
		{"False and no word on what is next", []metav1.Condition{condition("Ready", no)}, 2, true},
		{"both at once", []metav1.Condition{condition("Ready", no), condition("Reconciling", yes), condition("Stalled", yes)}, 2, true},
		{"Reconciling that is False", []metav1.Condition{condition("Ready", yes), condition("Reconciling", no)}, 2, true},
		{"Ready while stalled", []metav1.Condition{condition("Ready", yes), condition("Stalled", yes)}, 2, true},
		{"an old generation", []metav1.Condition{condition("Ready", yes, func(c *metav1.Condition) { c.ObservedGeneration = 1 })}, 2, true},
		{"handled and not observed", []metav1.Condition{condition("Ready", yes)}, 1, true},
		{"a reason that is no word", []metav1.Condition{condition("Ready", yes, func(c *metav1.Condition) { c.Reason = "not a word" })}, 2, true},
		{"no message", []metav1.Condition{condition("Ready", yes, func(c *metav1.Condition) { c.Message = "" })}, 2, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			p.Status.Conditions, p.Status.ObservedGeneration = c.conditions, c.observed
			if got := violations(p); (len(got) > 0) != c.broken {
				t.Errorf("violations = %q", got)
			}
		})
	}
}
