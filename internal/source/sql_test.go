package source

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
)

func sqlOrder(query, cursorColumn, mapping string) run.PullOrder {
	return run.PullOrder{Mapping: mapping, SQL: &run.SQL{Driver: "postgres", Query: query, CursorColumn: cursorColumn}}
}

const crm = `
root.type = "identify"
root.userId = this.id.string()
root.traits.plan = this.plan
root.timestamp = this.updated_at
`

func TestPullFromPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	b := newBench(t)
	with := func(order run.PullOrder, at time.Time) Options {
		order.Slot = at
		options := b.options(order)
		options.DSN = func() (string, error) { return dsn + "\n", nil }
		return options
	}
	pull := func(order run.PullOrder, at time.Time) run.Report {
		t.Helper()
		report, err := Run(t.Context(), with(order, at))
		if err != nil {
			t.Fatalf("the run failed: %v; report %+v", err, report)
		}
		return report
	}
	fail := func(order run.PullOrder, reason string, fatal bool) string {
		t.Helper()
		report, err := Run(t.Context(), with(order, slot))
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != reason || failure.Fatal != fatal {
			t.Fatalf("got %v, want a failure for %s, fatal %t; report %+v", err, reason, fatal, report)
		}
		return err.Error()
	}
	server.Exec("crm", `CREATE TABLE customers (id bigint, plan text, updated_at timestamptz)`,
		`INSERT INTO customers SELECT n, 'free', '2026-11-01T00:00:00.000001Z'::timestamptz + n * interval '1 second' FROM generate_series(1, 5000) n`)

	const query = `SELECT id, plan, updated_at FROM customers WHERE $1::timestamptz IS NULL OR updated_at > $1::timestamptz ORDER BY updated_at`
	t.Run("the cursor goes on where the last run ended", func(t *testing.T) {
		order := sqlOrder(query, "updated_at", crm)
		if report := pull(order, slot); report.Read != 5000 || report.Published != 5000 {
			t.Fatalf("got %+v", report)
		}
		if got := b.events(t); len(got.Events) != 5000 || got.Events[0].Occurred.IsZero() {
			t.Fatalf("the stream holds %d events", len(got.Events))
		}
		if report := pull(order, slot.Add(time.Hour)); report.Read != 0 {
			t.Errorf("nothing changed: got %+v", report)
		}
		server.Exec("crm", `UPDATE customers SET plan = 'pro', updated_at = '2026-11-20T10:00:00.123456Z' WHERE id = 7`)
		if report := pull(order, slot.Add(2*time.Hour)); report.Read != 1 || report.Published != 1 {
			t.Errorf("one row changed: got %+v", report)
		}
		if value, err := b.cursors.get(t.Context(), "sql updated_at"); err != nil || value != "2026-11-20T10:00:00.123456Z" {
			t.Errorf("the cursor is %q, %v; it must keep microseconds", value, err)
		}
		b.events(t)
	})
	t.Run("a number as a cursor, and a parameter without a cast", func(t *testing.T) {
		order := sqlOrder(`SELECT id FROM customers WHERE id > coalesce($1, 0) ORDER BY id LIMIT 3000`, "id", "root.type = \"track\"\nroot.event = \"Seen\"\nroot.userId = this.id.string()")
		for _, read := range []int64{3000, 2000, 0} {
			if report := pull(order, slot); report.Read != read {
				t.Errorf("got %+v, want %d rows", report, read)
			}
		}
		b.events(t)
	})
	t.Run("equal rows are different events, the same in each run; identify counts once a slot", func(t *testing.T) {
		order := sqlOrder(`SELECT 'u1' AS id, 'Seen' AS event UNION ALL SELECT 'u1', 'Seen' UNION ALL SELECT 'u2', 'Seen'`, "", "root.type = \"track\"\nroot.event = this.event\nroot.userId = this.id")
		pull(order, slot)
		first := ids(b.events(t))
		pull(order, slot.Add(time.Hour))
		if diff := cmp.Diff(first, ids(b.events(t))); diff != "" || len(first) != 3 || first[0] == first[1] || first[1] == first[2] {
			t.Errorf("ids %q (-first run +second run):\n%s", first, diff)
		}
		order = sqlOrder(`SELECT 'u1' AS id`, "", "root.type = \"identify\"\nroot.userId = this.id")
		var seen []string
		for _, at := range []time.Time{slot, slot, slot.Add(time.Hour)} {
			pull(order, at)
			seen = append(seen, ids(b.events(t))...)
		}
		if seen[0] != seen[1] || seen[1] == seen[2] {
			t.Errorf("ids %q: a Job that is tried again gives the same id, the next slot another", seen)
		}
	})
	t.Run("values have the types of JSON", func(t *testing.T) {
		report := pull(sqlOrder(`SELECT 9007199254740993::bigint AS big, 12345678901234567890.123456789::numeric AS money, 1e3::numeric AS thousand,
			0.1::float8 AS ratio, 'NaN'::float8 AS nan, true AS flag, NULL::text AS nothing, 'Köln' AS city,
			'2026-11-23 15:24:01.5+01'::timestamptz AS at, '2026-11-23 15:24:01'::timestamp AS local, '2026-11-23'::date AS day, '15:24'::time AS hour, interval '90 minutes' AS span,
			'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS id, '{"n":9007199254740993,"l":[1.10]}'::jsonb AS doc, '{"a":1}'::json AS plain,
			ARRAY['a','b'] AS tags, ARRAY[1,2]::bigint[] AS numbers, '10.0.0.1'::inet AS ip, '\xfffe'::bytea AS binary`, "",
			"root.type = \"track\"\nroot.event = \"Row\"\nroot.userId = \"u\"\nroot.properties = this"), slot)
		if report.Published != 1 {
			t.Fatalf("got %+v", report)
		}
		got := b.events(t).Events[0].Properties
		decoder := json.NewDecoder(strings.NewReader(got))
		decoder.UseNumber()
		var properties map[string]any
		if err := decoder.Decode(&properties); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"big": json.Number("9007199254740993"), "money": json.Number("12345678901234567890.123456789"), "thousand": json.Number("1000"),
			"ratio": json.Number("0.1"), "nan": nil, "flag": true, "nothing": nil, "city": "Köln",
			"at": "2026-11-23T14:24:01.5Z", "local": "2026-11-23T15:24:01Z", "day": "2026-11-23", "hour": "15:24:00.000000", "span": "01:30:00",
			"id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "doc": map[string]any{"n": json.Number("9007199254740993"), "l": []any{json.Number("1.10")}},
			"plain": map[string]any{"a": json.Number("1")}, "tags": []any{"a", "b"}, "numbers": []any{json.Number("1"), json.Number("2")}, "ip": "10.0.0.1/32", "binary": "//4=",
		}
		if diff := cmp.Diff(want, properties); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("what a person has to correct", func(t *testing.T) {
		for _, c := range []struct{ why, query, column, reason, want string }{
			{"a table that is not there", "SELECT * FROM clients", "", "QueryFailed", `"clients" does not exist`},
			{"a query that writes", "UPDATE customers SET plan = 'x' RETURNING id", "", "QueryFailed", "read-only"},
			{"two statements", "SELECT 1; DROP TABLE customers", "", "QueryFailed", "multiple commands"},
			{"a cursor's column that is not in the result", "SELECT id FROM customers WHERE id > $1", "changed_at", "QueryFailed", `no column "changed_at"`},
			{"two columns with one name", "SELECT id, id FROM customers", "", "QueryFailed", `two columns named "id"`},
			{"a value that does not convert", "SELECT 'secret'::int", "", "QueryFailed", "invalid input syntax"},
		} {
			message := fail(sqlOrder(c.query, c.column, crm), c.reason, true)
			if !strings.Contains(message, c.want) || strings.Contains(message, "secret") {
				t.Errorf("%s: got %s", c.why, message)
			}
		}
		good := dsn
		defer func() { dsn = good }()
		for _, c := range []struct{ why, dsn, want string }{
			{"a database that is not there", server.DSN("nothing"), `"nothing" does not exist`},
			{"a user that is not there", strings.Replace(good, "kohort@", "stranger:pass-word@", 1), `"stranger" does not exist`},
			{"no connection string", "postgres://kohort:pass-word@host:port/db", "not valid"},
		} {
			dsn = c.dsn
			message := fail(sqlOrder("SELECT 1", "", crm), "SourceUnreachable", true)
			if !strings.Contains(message, c.want) || strings.Contains(message, "pass-word") {
				t.Errorf("%s: got %s", c.why, message)
			}
		}
	})
	t.Run("a server that is away is tried again", func(t *testing.T) {
		server.Stop()
		message := fail(sqlOrder("SELECT 1", "", crm), "SourceUnreachable", false)
		if !strings.Contains(message, "refused") {
			t.Errorf("got %s", message)
		}
		server.Restart()
		if report := pull(sqlOrder("SELECT 'u' AS id, 'p' AS plan, now() AS updated_at", "", crm), slot); report.Published != 1 {
			t.Errorf("got %+v", report)
		}
	})
}

func TestOccurrencesCountEqualRowsOnly(t *testing.T) {
	o := newOccurrences()
	for want := range uint32(5) {
		if got := o.next("same"); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	wrong := 0
	for i := range 200_000 {
		if o.next(decimal(i)) != 0 {
			wrong++
		}
	}
	if wrong > 1 || len(o.again) > 2 {
		t.Errorf("%d of 200,000 different rows were taken for equal ones; %d are counted", wrong, len(o.again))
	}
}
