package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse"
)

const streamName = stream.Name

// plan is what a batch is to be: everything that a replay needs and cannot find elsewhere.
type plan struct {
	first, last uint64
	next        uint64 // free profile before the batch
	rules       []identity.Rule
	terms       string // hash of the terms, empty for none
}

// position is where the log ends.
type position struct {
	done       uint64 // last message that is stored
	next       uint64 // free profile
	unfinished *plan  // the batch after done, when it was planned
}

// ledger is the table ingest_log.
type ledger struct {
	conn  driver.Conn
	clock func() time.Time
}

// read finds the position.
func (l ledger) read(ctx context.Context) (position, error) {
	var at position
	err := warehouse.Retry(ctx, func() error {
		return l.conn.QueryRow(ctx, "SELECT max(last_seq), argMax(next_profile, last_seq) FROM ingest_log WHERE state = 'done'").Scan(&at.done, &at.next)
	})
	if err != nil {
		return at, fmt.Errorf("reading how far the stream is stored: %w", err)
	}
	at.next = max(1, at.next)
	at.unfinished, err = l.planned(ctx, at.done+1)
	return at, err
}

// planned gives the plan that counts for a place in the stream, nil when there is none.
func (l ledger) planned(ctx context.Context, first uint64) (*plan, error) {
	var found *plan
	err := warehouse.Retry(ctx, func() error {
		found = nil
		rows, err := l.conn.Query(ctx, fmt.Sprintf("SELECT last_seq, next_profile, rules, terms FROM ingest_log WHERE first_seq = %d AND state = 'planned' ORDER BY at, last_seq LIMIT 1", first))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			p := plan{first: first}
			var rules string
			if err := rows.Scan(&p.last, &p.next, &rules, &p.terms); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(rules), &p.rules); err != nil {
				return fmt.Errorf("reading the rules of the plan: %w", err)
			}
			found = &p
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the plan for message %d: %w", first, err)
	}
	return found, nil
}

// plan records p, unless a plan for its place is there already. The error is errFenced when the plan that counts is
// another one.
func (l ledger) plan(ctx context.Context, p plan) error {
	rules, err := json.Marshal(p.rules)
	if err != nil {
		return fmt.Errorf("writing down the rules of identity: %w", err)
	}
	if err := l.insert(ctx, fmt.Sprintf("plan-%d", p.first), p.first, p.last, "planned", p.next, string(rules), p.terms); err != nil {
		return err
	}
	counts, err := l.planned(ctx, p.first)
	if err != nil {
		return err
	}
	if counts == nil {
		return fmt.Errorf("the plan for message %d was inserted and is not there", p.first)
	}
	same, err := json.Marshal(counts.rules)
	if err != nil {
		return fmt.Errorf("writing down the rules of identity: %w", err)
	}
	if counts.last != p.last || counts.next != p.next || counts.terms != p.terms || string(same) != string(rules) {
		return fmt.Errorf("planning messages %d to %d: %w: it has planned up to %d", p.first, p.last, errFenced, counts.last)
	}
	return nil
}

// confirm says whether p is still to be done.
func (l ledger) confirm(ctx context.Context, p plan) error {
	var done uint64
	err := l.conn.QueryRow(ctx, fmt.Sprintf("SELECT count() FROM ingest_log WHERE state = 'done' AND last_seq >= %d", p.first)).Scan(&done)
	if err != nil {
		return fmt.Errorf("looking whether message %d is stored: %w", p.first, err)
	}
	if done > 0 {
		return fmt.Errorf("storing messages %d to %d: %w: they are stored", p.first, p.last, errFenced)
	}
	return nil
}

// done records that p is stored.
func (l ledger) done(ctx context.Context, p plan, next uint64) error {
	return l.insert(ctx, fmt.Sprintf("done-%d-%d", p.first, p.last), p.first, p.last, "done", next, "", p.terms)
}

func (l ledger) insert(ctx context.Context, token string, first, last uint64, state string, next uint64, rules, terms string) error {
	return warehouse.Retry(ctx, func() error {
		return warehouse.Insert(ctx, l.conn, "ingest_log", token,
			warehouse.Column{Name: "first_seq", Type: "UInt64", Values: []uint64{first}},
			warehouse.Column{Name: "last_seq", Type: "UInt64", Values: []uint64{last}},
			warehouse.Column{Name: "state", Type: "String", Values: []string{state}},
			warehouse.Column{Name: "next_profile", Type: "UInt64", Values: []uint64{next}},
			warehouse.Column{Name: "rules", Type: "String", Values: []string{rules}},
			warehouse.Column{Name: "terms", Type: "String", Values: []string{terms}},
			warehouse.Column{Name: "at", Type: "DateTime64(3, 'UTC')", Values: []time.Time{l.clock()}})
	})
}

// trim drops what is long done. The last of it stays: it is the position.
func (l ledger) trim(ctx context.Context, done uint64) error {
	const kept = 100_000 // messages: a look at what happened lately
	if done <= kept {
		return nil
	}
	var old uint64
	where := fmt.Sprintf("last_seq < %d AND at < toDateTime64(%d, 3, 'UTC')", done-kept, l.clock().Add(-24*time.Hour).Unix())
	if err := l.conn.QueryRow(ctx, "SELECT count() FROM ingest_log WHERE "+where).Scan(&old); err != nil {
		return fmt.Errorf("counting old rows of the log: %w", err)
	}
	if old < kept {
		return nil
	}
	if err := l.conn.Exec(ctx, "ALTER TABLE ingest_log DELETE WHERE "+where); err != nil {
		return fmt.Errorf("dropping old rows of the log: %w", err)
	}
	return nil
}
