package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
)

func postgres(t *testing.T, dsn, table string) *Postgres {
	t.Helper()
	p, err := NewPostgres(PostgresConfig{DSNFile: file(t, dsn), Table: table, Audience: "vip"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// rows reads a table as lines.
func rows(t *testing.T, dsn, table string) []string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	result, err := conn.Query(ctx, "SELECT audience || ' ' || profile_id || ' ' || identifiers || ' ' || traits FROM "+table+" ORDER BY audience, profile_id")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(result, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func upsert(id, plan string) Operation {
	return Operation{Op: OpUpsert, ID: id, Identifiers: map[string][]string{"email": {id + "@x"}}, Traits: map[string]json.RawMessage{"plan": []byte(plan)}}
}

func TestPostgresHoldsWhatItIsTold(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	server.Exec("crm", `CREATE SCHEMA "order"`)
	for _, table := range []string{"members", `order.select`} { // words of SQL are names like any other
		p := postgres(t, dsn, table)
		deliver := func(operations ...Operation) {
			t.Helper()
			results, err := p.Deliver(context.Background(), Batch{Operations: operations})
			if err != nil || !cmp.Equal(results, make([]Result, len(operations))) {
				t.Fatalf("delivering into %s: %v, %v", table, results, err)
			}
		}
		quoted := pgx.Identifier(strings.Split(table, ".")).Sanitize()
		deliver(upsert("1", `"pro"`), upsert("2", `{"a": [1, null]}`), Operation{Op: OpUpsert, ID: "3"})
		server.Exec("crm", "INSERT INTO "+quoted+" VALUES ('other', '1', '{}', '{}', now())")
		deliver(Operation{Op: OpRemove, ID: "2"}, Operation{Op: OpRemove, ID: "never there"}, upsert("1", `"fr'ee\""`))
		want := []string{
			`other 1 {} {}`,
			`vip 1 {"email": ["1@x"]} {"plan": "fr'ee\""}`,
			`vip 3 {} {}`,
		}
		if diff := cmp.Diff(want, rows(t, dsn, quoted)); diff != "" {
			t.Errorf("table %s (-want +got):\n%s", table, diff)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		deliver(Operation{Op: OpRemove, ID: "1"}) // connects again, and finds the table there
	}
}

func TestPostgresRefusesABatchForItsRows(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	p := postgres(t, dsn, "members")
	if _, err := p.Deliver(context.Background(), Batch{Operations: []Operation{upsert("1", `"a"`)}}); err != nil {
		t.Fatal(err)
	}
	server.Exec("crm", `ALTER TABLE members ADD CONSTRAINT known_plan CHECK (traits->>'plan' <> 'secret plan')`,
		`CREATE UNIQUE INDEX one_mail ON members ((identifiers->>'email'))`)
	for _, c := range []struct {
		why, reason, says string
		bad               Operation
	}{
		{"a constraint that somebody added is about the row", "CheckViolation", `constraint "known_plan"`, upsert("2", `"secret plan"`)},
		{"jsonb cannot hold U+0000", "UntranslatableCharacter", "22P05", upsert("2", `"secret plan\u0000"`)},
		{"so is a unique index", "UniqueViolation", `constraint "one_mail"`,
			Operation{Op: OpUpsert, ID: "2", Identifiers: map[string][]string{"email": {"1@x"}}}},
	} {
		_, err := p.Deliver(context.Background(), Batch{Operations: []Operation{upsert("9", `"b"`), c.bad}})
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != c.reason || !strings.Contains(refused.Message, c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
		if strings.Contains(fmt.Sprint(err), "secret plan") || strings.Contains(fmt.Sprint(err), "1@x") {
			t.Errorf("the error shows a value: %v", err)
		}
	}
	if got := rows(t, dsn, "members"); len(got) != 1 {
		t.Errorf("a refused batch left rows: %v", got)
	}
	// A row that takes the place of a removed one in an index that somebody added finds it free.
	swap := []Operation{{Op: OpUpsert, ID: "2", Identifiers: map[string][]string{"email": {"1@x"}}, Traits: nil}, {Op: OpRemove, ID: "1"}}
	swap[0].Traits = map[string]json.RawMessage{"plan": []byte(`"b"`)}
	if _, err := p.Deliver(context.Background(), Batch{Operations: swap}); err != nil {
		t.Errorf("an identifier that goes from one row to another: %v", err)
	}
}

func TestPostgresSaysWhatIsWrong(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	server.Exec("crm",
		"CREATE ROLE reader LOGIN", "CREATE ROLE writer LOGIN", "CREATE ROLE locked NOLOGIN",
		"REVOKE CREATE ON SCHEMA public FROM PUBLIC",
		"CREATE TABLE kept (audience text, profile_id text, identifiers jsonb, traits jsonb, updated_at timestamptz, PRIMARY KEY (profile_id, audience), note text)",
		"GRANT SELECT ON kept TO reader", "GRANT SELECT, INSERT, UPDATE, DELETE ON kept TO writer",
		"CREATE TABLE other (id int PRIMARY KEY, traits text, updated_at timestamptz, note text NOT NULL)",
		"CREATE TABLE keyless (audience text, profile_id text, identifiers jsonb, traits jsonb, updated_at timestamptz)",
		"CREATE TABLE partly (LIKE keyless)", "CREATE UNIQUE INDEX ON partly (audience, profile_id) WHERE audience = 'x'")
	as := func(user string) string { return strings.Replace(dsn, "kohort@", user+":pa55word@", 1) }
	for _, c := range []struct {
		why, dsn, table, kind, reason, says string
	}{
		{"a user who may write need not be able to make tables, and key order and further columns are free", as("writer"), "kept", "none", "", ""},
		{"a table with other columns is named, with each difference", dsn, "other", "fatal", ReasonTableMismatch,
			"column audience (text) is missing, column profile_id (text) is missing, column identifiers (jsonb) is missing, column traits is text and must be jsonb, column id needs a value or a default, column note needs a value or a default"},
		{"without a key rows would double", dsn, "keyless", "fatal", ReasonTableMismatch, "no unique key"},
		{"a key over some rows is none", dsn, "partly", "fatal", ReasonTableMismatch, "no unique key"},
		{"a user who may only read", as("reader"), "kept", "fatal", ReasonUnreachable, `user "reader"`},
		{"a table that is missing and may not be made", as("writer"), "fresh", "fatal", ReasonUnreachable, "CREATE on the schema"},
		{"a schema that is missing", dsn, "nowhere.members", "fatal", ReasonUnreachable, `no schema "nowhere"`},
		{"a role that may not log in", as("locked"), "kept", "fatal", ReasonUnreachable, "spec.sql.dsnSecretRef"},
		{"a role that is not there", as("nobody"), "kept", "fatal", ReasonUnreachable, "refused the login"},
		{"a database that is not there", strings.Replace(dsn, "/crm", "/nope", 1), "kept", "fatal", ReasonUnreachable, `no database "nope"`},
		{"a port where nobody is", "postgres://u:pa55word@127.0.0.1:1/crm", "kept", "unconnected", "", "127.0.0.1:1"},
		{"a host that nobody knows", "postgres://u:pa55word@db.invalid/crm", "kept", "unconnected", "", "db.invalid"},
	} {
		p := postgres(t, c.dsn, c.table)
		_, err := p.Deliver(context.Background(), Batch{Operations: []Operation{upsert("1", `"a"`)}})
		kind, _ := kindOf(err)
		var failure *run.Failure
		if errors.As(err, &failure) && failure.Reason != c.reason {
			t.Errorf("%s: reason %s, want %s", c.why, failure.Reason, c.reason)
		}
		if kind != c.kind || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %s: %v, want %s that says %q", c.why, kind, err, c.kind, c.says)
		}
		if strings.Contains(fmt.Sprint(err), "pa55word") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestPostgresComesBack(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	p := postgres(t, dsn, "members")
	deliver := func(id string) error {
		_, err := p.Deliver(context.Background(), Batch{Operations: []Operation{upsert(id, `"a"`)}})
		return err
	}
	if err := deliver("1"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for range 2 { // on the broken connection, and on the refused one
		if kind, _ := kindOf(deliver("2")); kind != "unavailable" && kind != "unconnected" {
			t.Errorf("a server that is away gives %s", kind)
		}
	}
	server.Restart()
	if err := deliver("2"); err != nil {
		t.Fatalf("after the server came back: %v", err)
	}
	server.Exec("crm", "DROP TABLE members")
	if kind, _ := kindOf(deliver("3")); kind != "unavailable" {
		t.Errorf("a table that was dropped during the run gives %s", kind)
	}
	if err := deliver("3"); err != nil {
		t.Errorf("the next try makes the table again: %v", err)
	}
	if got := rows(t, dsn, "members"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

func TestPostgresConnectionStrings(t *testing.T) {
	for _, text := range []string{"postgres://u:pa55word@host:port/db", "nonsense pa55word", "postgres://u:pa55%word@host/db"} {
		_, err := NewPostgres(PostgresConfig{DSNFile: file(t, text), Table: "members"})
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != ReasonInvalidSpec || strings.Contains(err.Error(), "pa55") {
			t.Errorf("connection string %q gives %v", text, err)
		}
	}
	one := postgres(t, "postgres://u:old@host/db", "members").Holder()
	if other := postgres(t, "postgres://v:new@host/db", "members").Holder(); one != other || strings.Contains(one, "old") {
		t.Errorf("a new password makes another place: %s and %s", one, other)
	}
	if other := postgres(t, "postgres://u:old@host/db", "crm.members").Holder(); one == other {
		t.Error("another table is the same place")
	}
}
