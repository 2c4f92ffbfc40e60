package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/retention"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func vip() *v1alpha1.Audience {
	return &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "vip", UID: "u1", Generation: 2}}
}

func result(size uint64) *evaluated {
	return &evaluated{Result: membership.Result{Revision: 7, Size: size}, at: noon, generation: 2}
}

// old is a status that an engine wrote before this process began, beside a condition of the operator.
func old() v1alpha1.AudienceStatus {
	return v1alpha1.AudienceStatus{
		CommonStatus: v1alpha1.CommonStatus{ObservedGeneration: 2, Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", LastTransitionTime: metav1.NewTime(noon)},
			{Type: v1alpha1.ConditionEvaluated, Status: metav1.ConditionTrue, Reason: ReasonEvaluated, ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(noon)},
		}},
		Size: new(int64(3)), Revision: new(int64(6)), Synced: "1/1",
	}
}

func TestAudienceStatus(t *testing.T) {
	for _, c := range []struct {
		why    string
		before v1alpha1.AudienceStatus
		facts  *audienceFacts
		want   map[string]any // the engine's share, without the condition's times and messages
		reason string
		truth  metav1.ConditionStatus
	}{
		{"a new audience waits", v1alpha1.AudienceStatus{}, nil, map[string]any{}, v1alpha1.ReasonAwaitingEvaluation, metav1.ConditionUnknown},
		{"a process that has seen nothing yet takes nothing back", old(), nil,
			map[string]any{"size": int64(3), "revision": int64(6)}, ReasonEvaluated, metav1.ConditionTrue},
		{"an evaluation", old(), &audienceFacts{verdict: verdict{2, true, ReasonEvaluated, "m"}, result: result(9)},
			map[string]any{"size": int64(9), "revision": int64(7), "evaluated": "2026-11-23T12:00:00Z", "evaluatedGeneration": int64(2)}, ReasonEvaluated, metav1.ConditionTrue},
		{"a failure keeps the numbers", old(), &audienceFacts{verdict: verdict{2, false, v1alpha1.ReasonEvaluationFailed, "m"}},
			map[string]any{"size": int64(3), "revision": int64(6)}, v1alpha1.ReasonEvaluationFailed, metav1.ConditionFalse},
		{"an edit that makes it invalid keeps the result of before", old(), &audienceFacts{verdict: verdict{2, false, v1alpha1.ReasonInvalidSpec, "m"}, result: result(9)},
			map[string]any{"size": int64(9), "revision": int64(7), "evaluated": "2026-11-23T12:00:00Z", "evaluatedGeneration": int64(2)}, v1alpha1.ReasonInvalidSpec, metav1.ConditionFalse},
		{"a change that is kept back", old(), &audienceFacts{verdict: verdict{2, false, v1alpha1.ReasonChangeTooLarge, "m"}, held: &membership.Hold{Token: "7-1f", Flow: membership.Flow{Entered: 4}, At: noon}},
			map[string]any{"size": int64(3), "revision": int64(6), "held": map[string]any{"token": "7-1f", "entering": int64(4), "leaving": int64(0), "since": "2026-11-23T12:00:00Z"}}, v1alpha1.ReasonChangeTooLarge, metav1.ConditionFalse},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := vip()
			a.Status = c.before
			status := audienceStatus(a, c.facts, nil, noon.Add(time.Hour))
			share, err := audienceShare.of(&status)
			if err != nil {
				t.Fatal(err)
			}
			conditions, _ := share["conditions"].([]any)
			if len(conditions) != 1 {
				t.Fatalf("the share has %d conditions, want Evaluated alone: %v", len(conditions), conditions)
			}
			condition := conditions[0].(map[string]any)
			if condition["type"] != "Evaluated" || condition["reason"] != c.reason || condition["status"] != string(c.truth) {
				t.Errorf("condition %v, want %s %s", condition, c.truth, c.reason)
			}
			delete(share, "conditions")
			if diff := cmp.Diff(c.want, share); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlowsOfAnAudienceWithoutChangesAreZero(t *testing.T) {
	status := audienceStatus(vip(), nil, map[string]membership.Flow{"other": {Entered: 3}}, noon)
	if *status.Entered24h != 0 || *status.Exited24h != 0 {
		t.Errorf("entered %d, left %d", *status.Entered24h, *status.Exited24h)
	}
}

func TestPolicyStatus(t *testing.T) {
	p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	p.Status.Oldest = new(metav1.NewTime(noon))
	f := policyFacts{
		verdict: verdict{1, true, ReasonEnforced, "m"}, outcome: &retention.Outcome{},
		deleted: map[string]int64{"events": 5}, enforced: noon, next: noon.Add(time.Hour),
	}
	status := policyStatus(p, f, noon)
	share, err := policyShare.of(&status)
	if err != nil {
		t.Fatal(err)
	}
	delete(share, "conditions")
	want := map[string]any{"overdue": int64(0), "deleted": map[string]any{"events": int64(5)},
		"enforced": "2026-11-23T12:00:00Z", "nextEnforcement": "2026-11-23T13:00:00Z"}
	if diff := cmp.Diff(want, share); diff != "" {
		t.Errorf("an oldest row that is gone must be taken back (-want +got):\n%s", diff)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		dry     bool
		overdue int64
		ok      bool
		reason  string
	}{
		{false, 0, true, ReasonEnforced}, {false, 3, false, ReasonOverdue}, {true, 3, false, ReasonDryRun}, {true, 0, true, ReasonDryRun},
	} {
		p := &v1alpha1.RetentionPolicy{}
		p.Spec.DryRun = c.dry
		if v := judge(p, retention.Outcome{Overdue: c.overdue}); v.ok != c.ok || v.reason != c.reason {
			t.Errorf("dry run %v, %d overdue: %+v", c.dry, c.overdue, v)
		}
	}
}

func TestWorth(t *testing.T) {
	at := func(minute, second, size int) map[string]any {
		return map[string]any{"evaluated": noon.Add(time.Duration(minute)*time.Minute + time.Duration(second)*time.Second).Format(time.RFC3339), "size": int64(size)}
	}
	for _, c := range []struct {
		why        string
		have, want map[string]any
		worth      bool
	}{
		{"nothing new costs no call", at(0, 0, 1), at(0, 0, 1), false},
		{"a time that is seconds newer waits", at(0, 0, 1), at(0, 59, 1), false},
		{"a minute is told", at(0, 0, 1), at(1, 0, 1), true},
		{"another size is told at once", at(0, 0, 1), at(0, 5, 2), true},
		{"the first time is told at once", map[string]any{"size": int64(1)}, at(0, 0, 1), true},
		{"what is taken back", map[string]any{"oldest": "x"}, map[string]any{}, true},
	} {
		if got := worth(c.have, c.want); got != c.worth {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}

func TestPlan(t *testing.T) {
	audience := func(uid types.UID, every v1alpha1.Duration) *v1alpha1.Audience {
		a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: string(uid), UID: uid, Generation: 1}}
		a.Spec.Evaluation.Every = every
		return a
	}
	tried := func(in time.Duration) attempt { return attempt{generation: 1, next: noon.Add(in)} }
	asked := audience("asked", "1h")
	asked.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: "now"}
	approved := audience("approved", "1h")
	approved.Annotations = map[string]string{v1alpha1.ApproveAnnotation: "2-1f"}
	for _, c := range []struct {
		why        string
		candidates []*v1alpha1.Audience
		attempts   map[types.UID]attempt
		due        []string
		next       time.Duration
	}{
		{"never evaluated", []*v1alpha1.Audience{audience("a", "1h")}, nil, []string{"a"}, longestWait},
		{"not due", []*v1alpha1.Audience{audience("a", "1h")}, map[types.UID]attempt{"a": tried(30 * time.Second)}, nil, 30 * time.Second},
		{"due now", []*v1alpha1.Audience{audience("a", "1h")}, map[types.UID]attempt{"a": tried(0)}, []string{"a"}, 0},
		{"edited", []*v1alpha1.Audience{audience("a", "1h")}, map[types.UID]attempt{"a": {generation: 0, next: noon.Add(time.Hour)}}, []string{"a"}, longestWait},
		{"asked for", []*v1alpha1.Audience{asked}, map[types.UID]attempt{"asked": tried(time.Hour)}, []string{"asked"}, longestWait},
		{"approved", []*v1alpha1.Audience{approved}, map[types.UID]attempt{"approved": tried(time.Hour)}, []string{"approved"}, longestWait},
		{"one that is due soon is taken along, one that is not stays", []*v1alpha1.Audience{audience("a", "1m"), audience("b", "1m"), audience("c", "1m")},
			map[types.UID]attempt{"a": tried(0), "b": tried(15 * time.Second), "c": tried(16 * time.Second)}, []string{"a", "b"}, 0},
		{"alone, one that is due soon waits", []*v1alpha1.Audience{audience("b", "1m")}, map[types.UID]attempt{"b": tried(15 * time.Second)}, nil, 15 * time.Second},
		{"one that failed keeps its distance", []*v1alpha1.Audience{audience("a", "1m"), audience("f", "1h")},
			map[types.UID]attempt{"a": tried(0), "f": {generation: 1, failures: 1, next: noon.Add(time.Second)}}, []string{"a"}, 0},
	} {
		due, next := plan(c.candidates, c.attempts, noon)
		var names []string
		for _, a := range due {
			names = append(names, a.Name)
		}
		if diff := cmp.Diff(c.due, names); diff != "" || next.Sub(noon) != c.next {
			t.Errorf("%s: next in %s, want %s; due (-want +got):\n%s", c.why, next.Sub(noon), c.next, diff)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: time.Second, 3: 8 * time.Second, 6: time.Minute, 100: time.Minute} {
		if got := retryDelay(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}
