package audience

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/golden"
)

func vip(change ...func(*v1alpha1.Audience)) *v1alpha1.Audience {
	a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "vip", Namespace: "team", Generation: 2}, Spec: v1alpha1.AudienceSpec{
		PlatformRef: v1alpha1.LocalReference{Name: "shop"},
		Destinations: []v1alpha1.AudienceDestination{
			{Name: "mailer"},
			{Name: "table", Schedule: "0 6 * * *", TimeZone: "Europe/Berlin", Identifiers: []string{"email"}, Traits: map[string]string{"tier": "plan"}},
		},
	}}
	for _, f := range change {
		f(a)
	}
	return a
}

func TestGolden(t *testing.T) {
	golden.Compare(t, "syncs", Syncs(vip())...)
	golden.Compare(t, "syncs-retained", Syncs(vip(func(a *v1alpha1.Audience) {
		a.Spec.DeletionPolicy, a.Spec.Suspend = v1alpha1.DeletionRetain, true
	}))...)
}

func TestSuperfluous(t *testing.T) {
	owned := map[string]*v1alpha1.Sync{"vip-mailer": {}, "vip-gone": {ObjectMeta: metav1.ObjectMeta{Name: "vip-gone"}}}
	got := Superfluous(vip(), owned)
	if len(got) != 1 || got[0].Name != "vip-gone" {
		t.Errorf("superfluous: %v", got)
	}
}

// syncOf is a Sync whose newest finished run delivered a generation.
func syncOf(generation int64, result string, ready metav1.ConditionStatus, reason string) *v1alpha1.Sync {
	s := &v1alpha1.Sync{Spec: v1alpha1.SyncSpec{DestinationRef: v1alpha1.LocalReference{Name: "mailer"}}}
	s.Status.History = []v1alpha1.SyncRun{{Run: v1alpha1.Run{Result: result, Generation: generation}}}
	s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: "said by the Sync"}}
	return s
}

func TestSynced(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for _, c := range []struct {
		why          string
		destinations int
		sync         *v1alpha1.Sync
		column, want string
	}{
		{"no destinations", 0, nil, "0/0", "True NoDestinations"},
		{"the Sync is not made yet", 1, nil, "0/1", "False Progressing"},
		{"delivered", 1, syncOf(2, v1alpha1.RunSucceeded, yes, "Ready"), "1/1", "True Ready"},
		{"an older generation was delivered, and the Sync has not noticed yet", 1, syncOf(1, v1alpha1.RunSucceeded, yes, "Ready"), "0/1", "False Progressing"},
		{"the newest run failed", 1, syncOf(2, v1alpha1.RunFailed, no, "DestinationUnreachable"), "0/1", "False DestinationUnreachable"},
		{"a run fails at this moment", 1, syncOf(2, v1alpha1.RunSucceeded, no, "DestinationUnreachable"), "0/1", "False DestinationUnreachable"},
		{"suspended before the first run", 1, &v1alpha1.Sync{Status: v1alpha1.SyncStatus{CommonStatus: v1alpha1.CommonStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: yes, Reason: "Suspended"}}}}}, "0/1", "False Suspended"},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := vip(func(a *v1alpha1.Audience) { a.Spec.Destinations = a.Spec.Destinations[:c.destinations] })
			f := Facts{Syncs: map[string]*v1alpha1.Sync{}}
			if c.sync != nil {
				f.Syncs["vip-mailer"] = c.sync
			}
			column, condition, _ := Synced(a, f)
			if got := string(condition.Status) + " " + condition.Reason; column != c.column || got != c.want {
				t.Errorf("got %s, %s (%s), want %s, %s", column, got, condition.Message, c.column, c.want)
			}
		})
	}
}
