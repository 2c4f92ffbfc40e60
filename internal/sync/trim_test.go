package sync

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	meaning "kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// The log of an audience's changes is trimmed while a Sync is behind, or has never run: nothing is missed.
func TestMirrorOfATrimmedAudience(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r, late := newWorld(t, conn), newReceiver(t), newReceiver(t)
	all := people(1, 20)
	w.know(all...)
	members := membership.New(conn)
	paying := &v1alpha1.Audience{}
	paying.Name = "paying"
	paying.Spec.Criteria = []v1alpha1.Criterion{{Name: "pro", Trait: &v1alpha1.TraitCriterion{
		Name: "plan", Operator: v1alpha1.OperatorEquals, Values: []apiextensionsv1.JSON{{Raw: []byte(`"pro"`)}},
	}}}
	day := 0
	set := func(plan string, of []person) {
		t.Helper()
		profiles := ordinals(of)
		w.describe(profiles, repeated("plan", len(profiles)), repeated(plan, len(profiles)))
		day++
		compiled, err := meaning.Compile([]*v1alpha1.Audience{paying}, start.AddDate(0, 0, day))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := members.Evaluate(t.Context(), compiled); err != nil {
			t.Fatal(err)
		}
	}
	set(`"pro"`, all[:10])
	c := config(t, conn, order("paying", r.URL))
	if diff := cmp.Diff(run.Report{Added: 10, Members: 10, Revision: 1}, mustRun(t, c)); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	set(`"free"`, all[:3])
	set(`"pro"`, all[10:14])
	if err := members.Trim(t.Context(), start.AddDate(0, 0, 100)); err != nil {
		t.Fatal(err)
	}
	var log, revisions uint64
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM membership_log), (SELECT count() FROM audience_revisions)").Scan(&log, &revisions); err != nil || log != 0 || revisions != 1 {
		t.Fatalf("%d rows of the log and %d revisions are left, %v: the test shows nothing", log, revisions, err)
	}
	if diff := cmp.Diff(run.Report{Added: 4, Removed: 3, Members: 11, Revision: 3}, mustRun(t, c)); diff != "" {
		t.Errorf("the run that was behind (-want +got):\n%s", diff)
	}
	o := order("paying", late.URL)
	o.Sync = "paying-late"
	if diff := cmp.Diff(run.Report{Added: 11, Members: 11, Revision: 3}, mustRun(t, config(t, conn, o))); diff != "" {
		t.Errorf("the run that is the first (-want +got):\n%s", diff)
	}
	for _, p := range all {
		_, held := r.held()[p.id.String()]
		_, heldLate := late.held()[p.id.String()]
		if want := p.profile > 3 && p.profile <= 14; held != want || heldLate != want {
			t.Errorf("profile %d is held: %v and %v, want %v", p.profile, held, heldLate, want)
		}
	}
}
