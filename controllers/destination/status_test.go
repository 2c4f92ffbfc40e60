package destination

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// at is a run that ended (or, still running, began) some minutes before noon.
func at(minutes int, result, reason string) v1alpha1.SyncRun {
	when := metav1.NewTime(noon.Add(-time.Duration(minutes) * time.Minute))
	r := v1alpha1.SyncRun{Run: v1alpha1.Run{Name: "r", Started: &when, Result: result, Reason: reason, Message: "m"}}
	if result != v1alpha1.RunRunning {
		r.Finished = &when
	}
	return r
}

func of(audience string, last v1alpha1.SyncRun, history ...v1alpha1.SyncRun) v1alpha1.Sync {
	return v1alpha1.Sync{Spec: v1alpha1.SyncSpec{AudienceRef: v1alpha1.LocalReference{Name: audience}}, Status: v1alpha1.SyncStatus{LastRun: &last, History: history}}
}

func TestReachable(t *testing.T) {
	const ok, failed, running, away = v1alpha1.RunSucceeded, v1alpha1.RunFailed, v1alpha1.RunRunning, v1alpha1.ReasonDestinationUnreachable
	for _, c := range []struct {
		why   string
		syncs []v1alpha1.Sync
		want  metav1.ConditionStatus
	}{
		{"no Sync", nil, metav1.ConditionUnknown},
		{"no run", []v1alpha1.Sync{{}}, metav1.ConditionUnknown},
		{"reached", []v1alpha1.Sync{of("a", at(5, ok, ""))}, metav1.ConditionTrue},
		{"not reached", []v1alpha1.Sync{of("a", at(5, failed, away))}, metav1.ConditionFalse},
		{"a try of a run that goes on has not reached it", []v1alpha1.Sync{of("a", at(1, running, away), at(60, ok, ""))}, metav1.ConditionFalse},
		{"a run under way says nothing yet", []v1alpha1.Sync{of("a", at(1, running, ""), at(60, ok, ""))}, metav1.ConditionTrue},
		{"a warehouse that is away says nothing about the destination", []v1alpha1.Sync{of("a", at(1, failed, "RunFailed"), at(60, ok, ""))}, metav1.ConditionTrue},
		{"the newest of two Syncs: reached", []v1alpha1.Sync{of("a", at(60, failed, away)), of("b", at(5, ok, ""))}, metav1.ConditionTrue},
		{"the newest of two Syncs: not reached", []v1alpha1.Sync{of("a", at(60, ok, "")), of("b", at(5, failed, away))}, metav1.ConditionFalse},
		{"their order does not matter", []v1alpha1.Sync{of("b", at(5, failed, away)), of("a", at(60, ok, ""))}, metav1.ConditionFalse},
	} {
		t.Run(c.why, func(t *testing.T) {
			if got := Reachable(c.syncs); got.Status != c.want {
				t.Errorf("got %s (%s), want %s", got.Status, got.Message, c.want)
			}
		})
	}
}

func TestAudiences(t *testing.T) {
	leaving := of("gone", at(1, v1alpha1.RunSucceeded, ""))
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	if got := Audiences([]v1alpha1.Sync{of("a", at(1, "Succeeded", "")), of("b", at(1, "Succeeded", "")), leaving}); got != 2 {
		t.Errorf("audiences = %d", got)
	}
}
