package sync

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestMirrorFollowsTheAudience(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 1200)
	w.know(all...)
	w.enter("vip", ordinals(all[:1100])...)
	c := config(t, conn, order("vip", r.URL))

	report := mustRun(t, c)
	if diff := cmp.Diff(run.Report{Added: 1100, Members: 1100, Revision: int64(w.version)}, report); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	ada := someone(7)
	want := destination.Operation{
		Op: destination.OpUpsert, ID: ada.id.String(),
		Identifiers: map[string][]string{"email": {"p7@example.com"}, "userId": {"u7"}},
		Traits:      map[string]json.RawMessage{"tariff": json.RawMessage(`"free"`)},
	}
	if diff := cmp.Diff(want, r.held()[ada.id.String()]); diff != "" {
		t.Errorf("a member (-want +got):\n%s", diff)
	}
	if r.requests != 3 {
		t.Errorf("1100 members took %d requests, want 3 of at most 500 operations", r.requests)
	}

	r.reset()
	report = mustRun(t, c)
	if r.requests != 0 || report.Added+report.Updated+report.Removed != 0 || report.Members != 1100 {
		t.Errorf("a second run with nothing changed sent %d requests, report %+v", r.requests, report)
	}

	w.leave("vip", 1, 2, 3)
	w.enter("vip", 1101, 1102)
	ada.traits = map[string]string{"plan": `"pro"`}
	w.know(ada)
	report = mustRun(t, c)
	if diff := cmp.Diff(run.Report{Added: 2, Updated: 1, Removed: 3, Members: 1099, Revision: int64(w.version) - 1}, report); diff != "" {
		t.Errorf("run after changes (-want +got):\n%s", diff)
	}
	if r.rows != 6 || len(r.held()) != 1099 {
		t.Errorf("6 changes sent %d rows, and the receiver holds %d of 1099", r.rows, len(r.held()))
	}
	if got := string(r.held()[ada.id.String()].Traits["tariff"]); got != `"pro"` {
		t.Errorf("the changed trait arrived as %s", got)
	}

	c.Order.Drain = true
	report = mustRun(t, c)
	if diff := cmp.Diff(run.Report{Removed: 1099}, report); diff != "" {
		t.Errorf("drain (-want +got):\n%s", diff)
	}
	if len(r.held()) != 0 {
		t.Errorf("after a drain the receiver holds %d members", len(r.held()))
	}
	r.reset()
	if report = mustRun(t, c); r.requests != 0 || report.Removed != 0 {
		t.Errorf("a second drain sent %d requests, report %+v", r.requests, report)
	}
}
