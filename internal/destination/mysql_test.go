package destination

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/mariadbtest"
	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/run"
)

func mySQL(t *testing.T, dsn, table string) *MySQL {
	t.Helper()
	m, err := NewMySQL(MySQLConfig{DSNFile: file(t, dsn), Table: table, Audience: "vip"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// mysqlRows reads a table as lines.
func mysqlRows(t *testing.T, dsn, table string) []string {
	t.Helper()
	config, err := mysqldsn.Parse(dsn, connectTimeout)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	result, err := db.QueryContext(context.Background(), "SELECT concat_ws(' ', audience, profile_id, identifiers, traits) FROM "+table+" ORDER BY audience, profile_id")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	var lines []string
	for result.Next() {
		var line string
		if err := result.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestMySQL(t *testing.T) {
	server := mariadbtest.Start(t)
	server.Exec("mysql", "CREATE DATABASE crm CHARACTER SET utf8mb4", "CREATE DATABASE `order` CHARACTER SET latin1")
	t.Run("holds what it is told", func(t *testing.T) { mysqlHolds(t, server) })
	t.Run("refuses a batch for its rows", func(t *testing.T) { mysqlRefuses(t, server) })
	t.Run("says what is wrong", func(t *testing.T) { mysqlSays(t, server) })
	t.Run("comes back", func(t *testing.T) { mysqlComesBack(t, server) })
}

func mysqlHolds(t *testing.T, server *mariadbtest.Server) {
	dsn := server.DSN("crm")
	for _, table := range []string{"members", "order.select"} { // words of SQL are names like any other
		m := mySQL(t, dsn, table)
		deliver := func(operations ...Operation) {
			t.Helper()
			results, err := m.Deliver(context.Background(), Batch{Operations: operations})
			if err != nil || !cmp.Equal(results, make([]Result, len(operations))) {
				t.Fatalf("delivering into %s: %v, %v", table, results, err)
			}
		}
		deliver(upsert("1", `"pro"`), upsert("2", `{"a": [1, null]}`), Operation{Op: OpUpsert, ID: "3"})
		server.Exec("crm", "INSERT INTO "+m.table()+" VALUES ('other', '1', '{}', '{}', now())")
		first := Operation{Op: OpUpsert, ID: "1", Identifiers: map[string][]string{"email": {"Zoë'\\🎉@x"}}, Traits: map[string]json.RawMessage{"plan": []byte(`"fr'ee\"\\\u0000?"`)}}
		deliver(Operation{Op: OpRemove, ID: "2"}, Operation{Op: OpRemove, ID: "never there"}, first, upsert("4", `1`))
		deliver(first) // again, as after a kill
		want := []string{
			`other 1 {} {}`,
			`vip 1 {"email":["Zoë'\\🎉@x"]} {"plan":"fr'ee\"\\\u0000?"}`,
			`vip 3 {} {}`,
			`vip 4 {"email":["4@x"]} {"plan":1}`,
		}
		if diff := cmp.Diff(want, mysqlRows(t, dsn, m.table())); diff != "" {
			t.Errorf("table %s (-want +got):\n%s", table, diff)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		deliver(Operation{Op: OpRemove, ID: "1"}) // connects again, and finds the table there
	}
	m := mySQL(t, dsn, "page")
	page := make([]Operation, 500)
	for i := range page {
		page[i] = upsert(fmt.Sprintf("%036d", i), `"`+strings.Repeat("x", 3000+i)+`"`)
	}
	for range 2 {
		if _, err := m.Deliver(context.Background(), Batch{Operations: page}); err != nil {
			t.Fatal(err)
		}
	}
	got := mysqlRows(t, dsn, "page")
	if len(got) != 500 || !strings.HasSuffix(got[499], strings.Repeat("x", 3499)+`"}`) {
		t.Errorf("a whole page gives %d rows", len(got))
	}
}

func mysqlRefuses(t *testing.T, server *mariadbtest.Server) {
	dsn := server.DSN("crm")
	m := mySQL(t, dsn, "guarded")
	if _, err := m.Deliver(context.Background(), Batch{Operations: []Operation{upsert("1", `"a"`)}}); err != nil {
		t.Fatal(err)
	}
	server.Exec("crm", `ALTER TABLE guarded ADD CONSTRAINT known_plan CHECK (json_value(traits, '$.plan') <> 'secret plan')`,
		`ALTER TABLE guarded ADD COLUMN mail varchar(100) AS (json_value(identifiers, '$.email[0]')) STORED, ADD UNIQUE KEY one_mail (mail)`,
		`ALTER TABLE guarded ADD COLUMN note varchar(20) DEFAULT 'kept'`, `UPDATE guarded SET note = 'by hand'`,
		`CREATE TRIGGER no_robots BEFORE INSERT ON guarded FOR EACH ROW IF json_value(NEW.traits, '$.plan') = 'robot' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a robot'; END IF`)
	for _, c := range []struct {
		why, reason, says string
		bad               Operation
	}{
		{"a constraint that somebody added is about the row", "CheckViolation", `constraint "known_plan"`, upsert("2", `"secret plan"`)},
		{"so is a unique index, and the row that is in the way stays as it is", "UniqueViolation", `constraint "one_mail"`,
			Operation{Op: OpUpsert, ID: "2", Identifiers: map[string][]string{"email": {"1@x"}}}},
		{"so is a trigger", "RaisedException", "1644", upsert("2", `"robot"`)},
	} {
		_, err := m.Deliver(context.Background(), Batch{Operations: []Operation{upsert("9", `"b"`), c.bad}})
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != c.reason || !strings.Contains(refused.Message, c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
		if strings.Contains(fmt.Sprint(err), "secret plan") || strings.Contains(fmt.Sprint(err), "1@x") {
			t.Errorf("the error shows a value: %v", err)
		}
	}
	if _, err := m.Deliver(context.Background(), Batch{Operations: []Operation{upsert("1", `"c"`)}}); err != nil {
		t.Fatal(err)
	}
	server.Exec("crm", "ALTER TABLE guarded DROP COLUMN mail, ADD CONSTRAINT still CHECK (note = 'by hand')") // fails if a change lost the note
	if got := mysqlRows(t, dsn, "guarded"); len(got) != 1 || !strings.Contains(got[0], `{"email":["1@x"]} {"plan":"c"}`) {
		t.Errorf("a refused batch left rows: %v", got)
	}
}

func mysqlSays(t *testing.T, server *mariadbtest.Server) {
	const body = "(audience varchar(99), profile_id varchar(99), identifiers longtext, traits json, updated_at timestamp NULL, "
	server.Exec("crm",
		"CREATE USER reader@localhost IDENTIFIED BY 'pa55word'", "CREATE USER writer@localhost IDENTIFIED BY 'pa55word'",
		"CREATE TABLE kept "+body+"UNIQUE KEY (profile_id, audience), note text)",
		"GRANT SELECT ON crm.kept TO reader@localhost", "GRANT SELECT, INSERT, UPDATE, DELETE ON crm.kept TO writer@localhost",
		"CREATE TABLE other (id int PRIMARY KEY, traits text, updated_at datetime, note varchar(9) NOT NULL, serial int NOT NULL AUTO_INCREMENT UNIQUE)",
		"CREATE TABLE keyless "+body+"KEY (audience, profile_id))",
		"CREATE TABLE partly "+body+"UNIQUE KEY (audience, profile_id(8)))",
		"CREATE TABLE untransacted "+body+"PRIMARY KEY (audience, profile_id)) ENGINE = MyISAM")
	dsn := server.DSN("crm")
	as := func(user string) string { return strings.Replace(dsn, "kohort:secret@", user+":pa55word@", 1) }
	for _, c := range []struct {
		why, dsn, table, kind, reason, says string
	}{
		{"a user who may write need not be able to make tables, and key order and further columns are free", as("writer"), "kept", "none", "", ""},
		{"a table with other columns is named, with each difference", dsn, "other", "fatal", ReasonTableMismatch,
			"column audience (varchar) is missing, column profile_id (char) is missing, column identifiers (json) is missing, column traits is text and must be json or longtext, column id needs a value or a default, column note needs a value or a default;"},
		{"without a key rows would double", dsn, "keyless", "fatal", ReasonTableMismatch, "no unique key"},
		{"a key over the beginnings of ids is none", dsn, "partly", "fatal", ReasonTableMismatch, "no unique key"},
		{"without transactions half a page may be left", dsn, "untransacted", "fatal", ReasonTableMismatch, "MyISAM"},
		{"a user who may only read", as("reader"), "kept", "fatal", ReasonUnreachable, `user "reader"`},
		{"a table that is missing and may not be made", as("writer"), "fresh", "fatal", ReasonUnreachable, "CREATE if the table"},
		{"a database of the table that is missing", dsn, "nowhere.members", "fatal", ReasonUnreachable, `no database "nowhere"`},
		{"a user that is not there", as("nobody"), "kept", "fatal", ReasonUnreachable, "refused the login"},
		{"a database that is not there", strings.Replace(dsn, "/crm", "/nope", 1), "kept", "fatal", ReasonUnreachable, `no database "nope"`},
		{"a port where nobody is", "mysql://u:pa55word@127.0.0.1:1/crm", "kept", "unconnected", "", "127.0.0.1:1"},
		{"a host that nobody knows", "mysql://u:pa55word@db.invalid/crm", "kept", "unconnected", "", "db.invalid"},
	} {
		_, err := mySQL(t, c.dsn, c.table).Deliver(context.Background(), Batch{Operations: []Operation{upsert("1", `"a"`)}})
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

func mysqlComesBack(t *testing.T, server *mariadbtest.Server) {
	dsn := server.DSN("crm")
	m := mySQL(t, dsn, "lasting")
	deliver := func(id string) error {
		_, err := m.Deliver(context.Background(), Batch{Operations: []Operation{upsert(id, `"a"`)}})
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
	server.Exec("crm", "DROP TABLE lasting")
	if kind, err := kindOf(deliver("3")); kind != "unavailable" {
		t.Errorf("a table that was dropped during the run gives %s (%v)", kind, err)
	}
	if err := deliver("3"); err != nil {
		t.Errorf("the next try makes the table again: %v", err)
	}
	if got := mysqlRows(t, dsn, "lasting"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

func TestMySQLConnectionStrings(t *testing.T) {
	for _, text := range []string{"mysql://u:pa55word@host:port/db", "nonsense pa55word", "mysql://u:pa55%word@host/db", "mysql://u:pa55word@host/db?pa55=1", "mysql://u:pa55word@host/db?tls=pa55", "postgres://u:pa55word@host/db"} {
		_, err := NewMySQL(MySQLConfig{DSNFile: file(t, text), Table: "members"})
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != ReasonInvalidSpec || strings.Contains(err.Error(), "pa55word") {
			t.Errorf("connection string %q gives %v", text, err)
		}
	}
	one := mySQL(t, "mysql://u:old@host/db", "members").Holder()
	if other := mySQL(t, "mysql://v:new@host/db", "members").Holder(); one != other || strings.Contains(one, "old") {
		t.Errorf("a new password makes another place: %s and %s", one, other)
	}
	if other := mySQL(t, "mysql://u:old@host/db", "crm.members").Holder(); one == other {
		t.Error("another table is the same place")
	}
}
