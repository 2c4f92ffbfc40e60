package membership

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestTrim(t *testing.T) {
	conn := &broken{Conn: warehousetest.Open(t)}
	store := New(conn)
	other := payers()
	day := func(n int) time.Time { return noon.AddDate(0, 0, n) }
	for n := range 4 { // a revision a day, with 2 more members in each
		buy(t, conn, 2*n+1, 2*n+3)
		if _, err := store.Evaluate(t.Context(), compiled(t, day(n), buyers())); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, conn, "INSERT INTO traits (profile, name, value, occurred) VALUES (1, 'plan', '1', '2026-11-23 00:00:00')")
	if _, err := store.Evaluate(t.Context(), compiled(t, day(3), other)); err != nil {
		t.Fatal(err)
	}
	history := func() string {
		return text(t, conn, "SELECT concat((SELECT toString(arraySort(groupArray((toString(audience), revision)))) FROM audience_revisions FINAL), ' ', "+
			"(SELECT toString(arraySort(groupUniqArray((toString(audience), revision)))) FROM membership_log))")
	}
	whole := history()
	expect := func(why, want string) {
		t.Helper()
		if got := history(); got != want {
			t.Errorf("%s: revisions and log are\n%s, want\n%s", why, got, want)
		}
	}
	trim := func(before time.Time) {
		t.Helper()
		if err := store.Trim(t.Context(), before); err != nil {
			t.Fatal(err)
		}
	}
	trim(day(0))
	expect("nothing is older", whole)
	trim(day(1))
	expect("the only old one stays, to go back to; nothing goes back beyond it",
		"[('buyers',1),('buyers',2),('buyers',3),('buyers',4),('payers',1)] [('buyers',2),('buyers',3),('buyers',4),('payers',1)]")

	conn.prefix = "DELETE FROM membership_log"
	if err := store.Trim(t.Context(), day(2)); err == nil {
		t.Fatal("it went on after a statement that failed")
	}
	conn.prefix = ""
	var unknown *UnknownRevisionError
	if _, err := store.Rollback(t.Context(), "buyers", 1, day(4)); !errors.As(err, &unknown) || *unknown != (UnknownRevisionError{1, 2, 4}) {
		t.Errorf("to a revision that is trimmed: %v", err)
	}
	trim(day(2))
	expect("what a crash left goes too", "[('buyers',2),('buyers',3),('buyers',4),('payers',1)] [('buyers',3),('buyers',4),('payers',1)]")
	got, err := store.Rollback(t.Context(), "buyers", 2, day(4))
	if diff := cmp.Diff(Result{Revision: 5, Size: 4, Left: 4}, got); err != nil || diff != "" {
		t.Errorf("to the oldest that is left: %v (-want +got):\n%s", err, diff)
	}

	// A revision whose log is there and that is not complete must survive, for the next evaluation completes it.
	buy(t, conn, 9, 11)
	conn.prefix = "INSERT INTO audience_revisions"
	if _, err := store.Evaluate(t.Context(), compiled(t, day(5), buyers())); err == nil {
		t.Fatal("it went on after a statement that failed")
	}
	conn.prefix = ""
	trim(day(100))
	expect("of all that is old the newest stays", "[('buyers',5),('payers',1)] [('buyers',6)]")
	store = New(conn)
	results, err := store.Evaluate(t.Context(), compiled(t, day(101), buyers()))
	if diff := cmp.Diff(Result{Revision: 7, Size: 10}, results["buyers"]); err != nil || diff != "" {
		t.Errorf("evaluated again: %v (-want +got):\n%s", err, diff)
	}
	if got := text(t, conn, membersQuery); got != "[1,2,3,4,5,6,7,8,9,10]" {
		t.Errorf("members %s", got)
	}
}
