package ingest

import (
	"errors"
	"testing"
	"time"

	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// Of two plans for one place the first that was stored counts, whatever the clocks of their writers say.
func TestPlanIsTakenOnce(t *testing.T) {
	conn := warehousetest.Open(t)
	at := func(d time.Duration) ledger {
		return ledger{conn: conn, clock: func() time.Time { return epoch.Add(d) }}
	}
	first, late, early := at(0), at(time.Hour), at(-time.Hour)
	p := plan{first: 1, last: 5, next: 7, rules: rules()}
	if err := first.plan(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, l := range []ledger{late, early} {
		shorter := p
		shorter.last = 3
		if err := l.plan(t.Context(), shorter); !errors.Is(err, errFenced) {
			t.Errorf("a second plan that ends elsewhere gave %v, want errFenced", err)
		}
		if err := l.plan(t.Context(), p); err != nil {
			t.Errorf("the same plan again: %v", err)
		}
	}
	got, err := late.read(t.Context())
	if err != nil || got.unfinished == nil || got.unfinished.last != 5 || got.unfinished.next != 7 || len(got.unfinished.rules) != len(p.rules) {
		t.Fatalf("the log is at %+v, %v; want the first plan", got, err)
	}
	if err := late.confirm(t.Context(), p); err != nil {
		t.Errorf("a plan that is not done: %v", err)
	}
	for range 2 {
		if err := late.done(t.Context(), p, 9); err != nil {
			t.Fatal(err)
		}
	}
	if err := early.confirm(t.Context(), p); !errors.Is(err, errFenced) {
		t.Errorf("a plan that is done gave %v, want errFenced", err)
	}
	if got, err := early.read(t.Context()); err != nil || got.done != 5 || got.next != 9 || got.unfinished != nil {
		t.Errorf("the log is at %+v, %v; want message 5, profile 9 and nothing unfinished", got, err)
	}
}

func TestTrimKeepsThePosition(t *testing.T) {
	conn := warehousetest.Open(t)
	if err := conn.Exec(t.Context(), `INSERT INTO ingest_log (first_seq, last_seq, state, next_profile, rules, at)
		SELECT number + 1, number + 1, 'done', number, '', '2026-01-01 00:00:00' FROM numbers(250000) SETTINGS insert_deduplicate = 0`); err != nil {
		t.Fatal(err)
	}
	l := ledger{conn: conn, clock: func() time.Time { return epoch }}
	if err := l.trim(t.Context(), 250_000); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for rows := ""; rows != "100001"; rows = texts(t, conn, "SELECT toString(count()) FROM ingest_log")[0] {
		if time.Now().After(deadline) {
			t.Fatalf("%s rows are left of 250,000, want the last 100,001", rows)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got, err := l.read(t.Context()); err != nil || got.done != 250_000 || got.next != 249_999 {
		t.Errorf("the log is at %+v, %v", got, err)
	}
}
