package sync

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// The same story in each mode: three enter, one changes, one leaves, the one who left comes again, the Sync goes.
func TestModesTellOneStory(t *testing.T) {
	for mode, want := range map[string][5]run.Report{
		ModeMirror:    {{Added: 3, Members: 3}, {Updated: 1, Members: 3}, {Removed: 1, Members: 2}, {Added: 1, Members: 3}, {Removed: 3}},
		ModeAddRemove: {{Added: 3, Members: 3}, {Members: 3}, {Removed: 1, Members: 2}, {Added: 1, Members: 3}, {Removed: 3}},
		ModeUpsert:    {{Added: 3, Members: 3}, {Updated: 1, Members: 3}, {Members: 3}, {Members: 3}, {Removed: 3}},
		ModeAppend:    {{Added: 3, Members: 3}, {Members: 3}, {Members: 3}, {Added: 1, Members: 3}, {Removed: 3}},
	} {
		t.Run(mode, func(t *testing.T) {
			conn := warehousetest.Open(t)
			w, r := newWorld(t, conn), newReceiver(t)
			all := people(1, 3)
			w.know(all...)
			w.enter("vip", 1, 2, 3)
			o := order("vip", r.URL)
			o.Mode = mode
			c := config(t, conn, o)
			for i, step := range []func(){
				func() {},
				func() { w.describe([]uint64{1}, []string{"plan"}, []string{`"pro"`}) },
				func() { w.leave("vip", 2) },
				func() { w.enter("vip", 2) },
				func() { c.Order.Drain = true },
			} {
				step()
				report := mustRun(t, c)
				report.Revision = 0
				if diff := cmp.Diff(want[i], report); diff != "" {
					t.Errorf("step %d (-want +got):\n%s", i+1, diff)
				}
				r.reset()
				if mustRun(t, c); r.rows > 0 {
					t.Errorf("step %d: a second run sent %d rows", i+1, r.rows)
				}
			}
		})
	}
}

// A resync sends everything once more, also after a run for it was cut off, and says nothing to the next ones.
func TestResyncSendsEverythingAgain(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			conn := warehousetest.Open(t)
			w, r := newWorld(t, conn), newReceiver(t)
			all := people(1, 8)
			w.know(all...)
			w.enter("vip", ordinals(all)...)
			o := order("vip", r.URL)
			o.Mode = mode
			c := config(t, conn, o)
			mustRun(t, c)
			w.leave("vip", 8)
			mustRun(t, c)
			r.mu.Lock()
			clear(r.members) // somebody emptied it
			r.mu.Unlock()
			r.reset()
			c.Order.Resync, c.PageRows = "1", 2
			cut := c
			cut.Destination = &mortal{Destination: c.Destination, left: 3, after: true}
			attempt(cut)
			report := mustRun(t, c)
			if len(r.held()) != 7 || r.rows != 9 { // the page that was not recorded comes twice
				t.Errorf("report %+v: %d rows were sent and the receiver holds %d of 7", report, r.rows, len(r.held()))
			}
			r.reset()
			if mustRun(t, c); r.rows > 0 {
				t.Errorf("a second run sent %d rows", r.rows)
			}
			c.Order.Resync = "2"
			if mustRun(t, c); r.rows != 7 {
				t.Errorf("another resync sent %d rows of 7", r.rows)
			}
		})
	}
}

// Who is erased, or expired, is taken out in each mode, under whatever id and ordinal they were sent; who was merged or has
// another id is not.
func TestErasedAreTakenOutInEachMode(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			conn := warehousetest.Open(t)
			w, r := newWorld(t, conn), newReceiver(t)
			all := people(1, 5)
			w.know(all...)
			w.enter("vip", 1, 2, 3, 4)
			o := order("vip", r.URL)
			o.Mode = mode
			c := config(t, conn, o)
			mustRun(t, c)
			w.merge(1, 2) // both were sent
			w.leave("vip", 1, 3)
			renamed := all[3]
			renamed.id[0]++
			w.name([]uint64{4}, ids(renamed))
			mustRun(t, c)
			before := r.held()
			r.reset()
			if mustRun(t, c); r.rows > 0 {
				t.Fatalf("who was merged or renamed was taken for erased: %v", r.log)
			}
			for _, table := range []string{"profiles", "memberships", "identities", "profile_identifiers", "traits", "profile_overrides"} {
				if err := conn.Exec(t.Context(), "DELETE FROM "+table+" WHERE profile IN (1, 2, 3, 4)"); err != nil {
					t.Fatal(err)
				}
			}
			w.enter("vip", 5)
			report := mustRun(t, c)
			held := r.held()
			if _, stays := held[all[4].id.String()]; len(held) != 1 || !stays || int(report.Removed) != len(before) {
				t.Errorf("report %+v; the receiver held %d and holds %v", report, len(before), held)
			}
		})
	}
}

// An entry is sent once, whatever the customer is called since; each entry has its number.
func TestAppendNumbersEntries(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 3)
	w.know(all...)
	w.enter("vip", 1, 2)
	first := w.version
	o := order("vip", r.URL)
	o.Mode = ModeAppend
	c := config(t, conn, o)
	mustRun(t, c)
	renamed := all[0]
	renamed.id[0]++
	w.name([]uint64{1}, ids(renamed))
	w.merge(2, 3)
	w.describe([]uint64{3}, []string{"plan"}, []string{`"pro"`})
	if report := mustRun(t, c); report.Added != 0 {
		t.Errorf("report %+v: a new id is no entry, and neither is a merge or a change", report)
	}
	w.leave("vip", 1)
	w.enter("vip", 1)
	if report := mustRun(t, c); report.Added != 1 || report.Updated+report.Removed != 0 {
		t.Errorf("report %+v: who came again between two runs entered again", report)
	}
	last := r.log[len(r.log)-1]
	want := destination.Operation{Op: destination.OpUpsert, ID: renamed.id.String(), Entry: w.version, Identifiers: last.Identifiers, Traits: last.Traits}
	if diff := cmp.Diff(want, last); diff != "" || r.log[0].Entry != first {
		t.Errorf("the first entry is %d, want %d; the second (-want +got):\n%s", r.log[0].Entry, first, diff)
	}
}
