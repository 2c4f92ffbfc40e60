package source

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/mariadbtest"
	"kohort.dev/kohort/internal/run"
)

func TestPullFromMariaDB(t *testing.T) {
	server := mariadbtest.Start(t)
	server.Exec("mysql", "CREATE DATABASE crm CHARACTER SET utf8mb4")
	b := newBench(t)
	dsn := server.DSN("crm")
	do := func(order run.PullOrder, at time.Time) (run.Report, error) {
		order.SQL.Driver, order.Slot = "mysql", at
		options := b.options(order)
		options.DSN = func() (string, error) { return dsn + "\n", nil }
		return Run(t.Context(), options)
	}
	server.Exec("crm", `CREATE TABLE customers (id BIGINT, plan VARCHAR(20), updated_at TIMESTAMP(6) NULL)`, `SET time_zone = '+02:00'`,
		`INSERT INTO customers SELECT seq, 'free', '2026-11-01 00:00:00.000001' + INTERVAL seq SECOND FROM seq_1_to_5000`)

	const query = `SELECT id, plan, updated_at FROM customers WHERE $1 IS NULL OR updated_at > $1 ORDER BY updated_at -- not $1`
	t.Run("the cursor goes on where the last run ended", func(t *testing.T) {
		order := sqlOrder(query, "updated_at", crm)
		report, err := do(order, slot)
		if err != nil || report.Read != 5000 || report.Published != 5000 {
			t.Fatalf("%+v, %v", report, err)
		}
		server.Exec("crm", `INSERT INTO customers VALUES (5001, 'pro', '2026-12-01 00:00:00')`)
		if report, err := do(order, slot.Add(time.Hour)); err != nil || report.Read != 1 {
			t.Errorf("%+v, %v", report, err)
		}
		if report, err := do(order, slot.Add(2*time.Hour)); err != nil || report.Read != 0 {
			t.Errorf("%+v, %v", report, err)
		}
		if got := b.events(t); len(distinct(got)) != 5001 {
			t.Errorf("%d events", len(distinct(got)))
		}
	})
	t.Run("types", func(t *testing.T) {
		server.Exec("crm", `CREATE TABLE every (tiny TINYINT, big BIGINT UNSIGNED, money DECIMAL(30,4), real8 DOUBLE, flag BIT(9), day DATE, at DATETIME(3), span TIME, txt TEXT, bin VARBINARY(8), pick ENUM('a','b'), nothing INT)`,
			`INSERT INTO every VALUES (-1, 18446744073709551615, 12345678901234567890.1234, 0.5, b'100000001', '1986-07-09', '2026-11-23 10:00:00.250', '13:30:00', 'Zoë 🎉', X'FF00', 'b', NULL)`)
		mapping := `root = {"type": "track", "event": "x", "userId": "u", "properties": this}`
		if report, err := do(run.PullOrder{Mapping: mapping, SQL: &run.SQL{Query: "SELECT * FROM every"}}, slot); err != nil || report.Published != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		want := `{"at":"2026-11-23T10:00:00.25Z","big":18446744073709551615,"bin":"/wA=","day":"1986-07-09","flag":257,"money":12345678901234567890.1234,` +
			`"nothing":null,"pick":"b","real8":0.5,"span":"13:30:00","tiny":-1,"txt":"Zoë 🎉"}`
		if diff := cmp.Diff(want, b.events(t).Events[0].Properties); diff != "" {
			t.Error(diff)
		}
	})
	for _, c := range []struct {
		why, query, cursor, dsn, reason string
		fatal                           bool
		says                            string
	}{
		{"a table that is not there", "SELECT * FROM nothing", "", "", reasonQueryFailed, true, "nothing"},
		{"a query that does not parse", "SELEC 1", "", "", reasonQueryFailed, true, "1064"},
		{"a query that writes", "INSERT INTO customers VALUES (1, 'x', NULL)", "", "", reasonQueryFailed, true, "READ ONLY"},
		{"two columns of one name", "SELECT 1 AS a, 2 AS a", "", "", reasonQueryFailed, true, "two columns"},
		{"a cursor that is no column", "SELECT id FROM customers WHERE $1 IS NULL", "changed", "", reasonQueryFailed, true, "spec.sql.cursorColumn"},
		{"a wrong password", "SELECT 1", "", strings.Replace(dsn, "secret", "wrong", 1), reasonSourceUnreachable, true, "1045"},
		{"a database that is not there", "SELECT 1", "", server.DSN("none"), reasonSourceUnreachable, true, "1049"},
		{"nothing that listens", "SELECT 1", "", "mysql://u:p@127.0.0.1:1/x", reasonSourceUnreachable, false, "127.0.0.1:1"},
		{"another kind of string", "SELECT 1", "", "u:hunter2@tcp(h)/x", reasonSourceUnreachable, true, "mysql://"},
		{"a parameter that is not known", "SELECT 1", "", dsn + "?allowAllFiles=true", reasonSourceUnreachable, true, "allowAllFiles"},
	} {
		t.Run(c.why, func(t *testing.T) {
			before := dsn
			if c.dsn != "" {
				dsn = c.dsn
			}
			defer func() { dsn = before }()
			_, err := do(sqlOrder(c.query, c.cursor, crm), slot)
			var failure *run.Failure
			if !errors.As(err, &failure) || failure.Reason != c.reason || failure.Fatal != c.fatal || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v (%+v), want %s, fatal %t, with %q", err, failure, c.reason, c.fatal, c.says)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestPlaceholders(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"a > $1 AND b > $1", "a > ? AND b > ?"},
		{`'$1' "$1" ` + "`$1`" + ` $1`, `'$1' "$1" ` + "`$1`" + ` ?`},
		{`'it''s $1' '\' $1' $1`, `'it''s $1' '\' $1' ?`},
		{"-- $1\n$1 # $1\n/* $1 */ $1", "-- $1\n? # $1\n/* $1 */ ?"},
		{"'open $1", "'open $1"},
	} {
		if got, count := placeholders(c.query); got != c.want || count != strings.Count(c.want, "?") {
			t.Errorf("%s becomes %s with %d", c.query, got, count)
		}
	}
}
