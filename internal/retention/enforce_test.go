package retention

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

var now = utc("2026-11-23 10:00:00.000")

// fill makes a row of each table, of two sources, at 14 moments: days before now, 7 days apart, at noon. Events
// happened 100 days before they were received.
func fill(t *testing.T, conn driver.Conn) {
	t.Helper()
	for _, statement := range []string{
		"TRUNCATE TABLE events", "TRUNCATE TABLE quarantine",
		"INSERT INTO events (event, source, received, occurred, properties, seq) SELECT ['A', 'it\\'s'][1 + number % 2], ['web', 'crm'][1 + intDiv(number, 2) % 2], at, at - INTERVAL 100 DAY, 'needle' || toString(number), number FROM (SELECT number, toDateTime64('2026-11-23 12:00:00', 3, 'UTC') - INTERVAL 7 * intDiv(number, 4) DAY AS at FROM numbers(56))",
		"INSERT INTO quarantine (source, received, original) SELECT source, received, 'original' FROM events",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// number of rows of a table, or of a table and a condition.
func number(t *testing.T, conn driver.Conn, rows string) int64 {
	t.Helper()
	var n int64
	if err := conn.QueryRow(t.Context(), "SELECT toInt64(count()) FROM "+rows).Scan(&n); err != nil {
		t.Fatalf("counting %s: %v", rows, err)
	}
	return n
}

func TestEnforce(t *testing.T) {
	conn := warehousetest.Open(t)
	for _, c := range []struct {
		why    string
		policy *v1alpha1.RetentionPolicy
		want   Outcome
		events int64 // left
	}{
		{"rows of day 0 to 28 stay; whole months are dropped, and part of one is deleted", policyOf("30d"),
			Outcome{Deleted: map[string]int64{"events": 36}, Oldest: utc("2026-10-26 12:00:00.000")}, 20},
		{"both tables", policyOf("30d", func(p *v1alpha1.RetentionPolicy) {
			p.Spec.Select.Data = append(p.Spec.Select.Data, v1alpha1.RetainQuarantine)
		}), Outcome{Deleted: map[string]int64{"events": 36, "quarantine": 36}, Oldest: utc("2026-10-26 12:00:00.000")}, 20},
		{"one source; the others' rows do not count as oldest either", policyOf("30d", func(p *v1alpha1.RetentionPolicy) { p.Spec.Select.Sources = []string{"crm"} }),
			Outcome{Deleted: map[string]int64{"events": 18}, Oldest: utc("2026-10-26 12:00:00.000")}, 38},
		{"one event, with a name that must be quoted", policyOf("30d", func(p *v1alpha1.RetentionPolicy) { p.Spec.Select.Events = []string{"it's"} }),
			Outcome{Deleted: map[string]int64{"events": 18}, Oldest: utc("2026-10-26 12:00:00.000")}, 38},
		{"by the time it happened all are older than 30 days", policyOf("30d", func(p *v1alpha1.RetentionPolicy) { p.Spec.From = v1alpha1.FromOccurred }),
			Outcome{Deleted: map[string]int64{"events": 56}}, 0},
		{"by the time it happened", policyOf("110d", func(p *v1alpha1.RetentionPolicy) { p.Spec.From = v1alpha1.FromOccurred }),
			Outcome{Deleted: map[string]int64{"events": 48}, Oldest: utc("2026-08-08 12:00:00.000")}, 8},
		{"a dry run counts only", policyOf("30d", func(p *v1alpha1.RetentionPolicy) { p.Spec.DryRun = true }),
			Outcome{Deleted: map[string]int64{}, Overdue: 36, Oldest: utc("2026-08-24 12:00:00.000")}, 56},
		{"nothing is due", policyOf("1y"),
			Outcome{Deleted: map[string]int64{}, Oldest: utc("2026-08-24 12:00:00.000")}, 56},
	} {
		t.Run(c.why, func(t *testing.T) {
			fill(t, conn)
			p := mustRead(t, c.policy)
			got, err := Enforce(t.Context(), conn, p, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if left := number(t, conn, "events"); left != c.events {
				t.Errorf("%d events left, want %d", left, c.events)
			}
			if masked := number(t, conn, "system.parts WHERE active AND has_lightweight_delete"); masked != 0 {
				t.Errorf("%d parts still hold masked rows", masked)
			}
			again, err := Enforce(t.Context(), conn, p, now)
			if err != nil || len(again.Deleted) != 0 || again.Overdue != c.want.Overdue {
				t.Errorf("the second time: %+v, %v; want nothing deleted", again, err)
			}
		})
	}
}

// What an enforcement that was interrupted has only masked is taken off the disk by the next one.
func TestEnforceFinishesWhatWasInterrupted(t *testing.T) {
	conn := warehousetest.Open(t)
	fill(t, conn)
	p := mustRead(t, policyOf("30d", func(p *v1alpha1.RetentionPolicy) { p.Spec.Select.Sources = []string{"crm", "web"} }))
	if err := conn.Exec(t.Context(), "DELETE FROM events WHERE "+p.due(p.tables[0], p.Cutoff(now))); err != nil {
		t.Fatal(err)
	}
	if number(t, conn, "system.parts WHERE active AND has_lightweight_delete") == 0 {
		t.Fatal("a lightweight delete left no mask: this test tries nothing")
	}
	if _, err := Enforce(t.Context(), conn, p, now); err != nil {
		t.Fatal(err)
	}
	if masked := number(t, conn, "system.parts WHERE active AND has_lightweight_delete"); masked != 0 {
		t.Errorf("%d parts still hold masked rows", masked)
	}
}
