package sync

import (
	"testing"

	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// Who is suppressed is not added and is taken out, in each mode, also under an id of before a merge; whoever is so no more
// is added. Until it is known who is, nobody is added, and who leaves is taken out all the same.
func TestSuppressedAreNotAtTheDestination(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			conn := warehousetest.Open(t)
			w, r := newWorld(t, conn), newReceiver(t)
			all := people(1, 6)
			w.know(all...)
			w.enter("vip", 1, 2, 3)
			o := order("vip", r.URL)
			o.Mode = mode
			c := config(t, conn, o)
			mustRun(t, c)

			c.Order.Suppress = []string{"converted"}
			w.leave("vip", 1)
			w.enter("vip", 4, 5)
			w.describe([]uint64{2}, []string{"plan"}, []string{`"pro"`})
			r.reset()
			report, failed := failure(t, c)
			if failed.Reason != reasonSuppression || failed.Fatal || report.Added+report.Updated != 0 || r.rows != int(report.Removed) || (report.Removed == 1) != (rule{mode: mode}).takesOut() {
				t.Errorf("nobody knows who is suppressed: %q, report %+v after %v", failed.Err, report, r.log)
			}
			w.merge(3, 6)
			w.enter("converted", 6, 5)
			c.Order.Hold = true
			if report := mustRun(t, c); report.Added+report.Updated != 0 || report.Removed == 0 || report.Suppressed != 2 {
				t.Errorf("a run that must not add anybody: report %+v", report)
			}
			c.Order.Hold = false
			report = mustRun(t, c)
			held := r.held()
			for n, want := range map[int]bool{2: true, 3: false, 4: true, 5: false, 6: false} {
				if _, is := held[all[n-1].id.String()]; is != want {
					t.Errorf("customer %d is held: %v, want %v; report %+v", n, is, want, report)
				}
			}
			w.leave("converted", 6)
			mustRun(t, c)
			if _, is := r.held()[all[5].id.String()]; !is {
				t.Error("who is suppressed no more was not added")
			}
			r.reset()
			if mustRun(t, c); r.rows > 0 {
				t.Errorf("a second run sent %v", r.log)
			}
		})
	}
}
