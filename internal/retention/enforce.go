package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Outcome of one enforcement.
type Outcome struct {
	// Deleted rows by table.
	Deleted map[string]int64
	// Overdue rows that are still there, counted afterwards.
	Overdue int64
	// Oldest row covered by the policy that is kept; zero when there is none.
	Oldest time.Time
}

// Enforce deletes what is due at now and counts what is left; a dry run only counts. It returns when the rows are off
// the files that the store reads; the files replaced in the course of it are removed by the store minutes later.
//
// What was done before a failure stays done and is in the outcome, and the next call goes on.
func Enforce(ctx context.Context, conn driver.Conn, p Policy, now time.Time) (Outcome, error) {
	out := Outcome{Deleted: map[string]int64{}}
	cutoff := p.Cutoff(now)
	for _, t := range p.tables {
		if !p.dryRun {
			deleted, err := p.remove(ctx, conn, t, cutoff)
			if deleted > 0 {
				out.Deleted[t.name] = deleted
			}
			if err != nil {
				return out, fmt.Errorf("deleting from %s what is from before %s: %w", t.name, cutoff.Format(time.RFC3339), err)
			}
		}
		overdue, err := count(ctx, conn, t.name, p.due(t, cutoff))
		if err != nil {
			return out, fmt.Errorf("counting what is overdue in %s: %w", t.name, err)
		}
		out.Overdue += overdue
		oldest, err := p.oldest(ctx, conn, t)
		if err != nil {
			return out, fmt.Errorf("looking for the oldest row of %s: %w", t.name, err)
		}
		if !oldest.IsZero() && (out.Oldest.IsZero() || oldest.Before(out.Oldest)) {
			out.Oldest = oldest
		}
	}
	return out, nil
}

// remove deletes the due rows of a table and gives their number, also when it fails on the way.
func (p Policy) remove(ctx context.Context, conn driver.Conn, t table, cutoff time.Time) (deleted int64, err error) {
	partitions, err := partitionsOf(ctx, conn, t.name, p.due(t, cutoff))
	if err != nil {
		return 0, err
	}
	left := int64(0)
	for _, partition := range partitions {
		if !p.whole(partition.id, cutoff) {
			left += partition.rows
			continue
		}
		if err := conn.Exec(ctx, "ALTER TABLE "+t.name+" DROP PARTITION ID '"+partition.id+"'"); err != nil {
			return deleted, err
		}
		deleted += partition.rows
	}
	if left > 0 {
		if err := conn.Exec(quick(ctx), "DELETE FROM "+t.name+" WHERE "+p.due(t, cutoff)); err != nil {
			return deleted, err
		}
		if err := settled(ctx, conn, t.name); err != nil {
			return deleted, err
		}
		survivors, err := count(ctx, conn, t.name, p.due(t, cutoff))
		if err != nil {
			return deleted, err
		}
		deleted += max(0, left-survivors)
	}
	return deleted, scrub(ctx, conn, t.name)
}

// scrub rewrites the parts in which deleted rows are only masked, also those that an enforcement which did not end left.
func scrub(ctx context.Context, conn driver.Conn, table string) error {
	var masked []string
	err := conn.QueryRow(ctx, "SELECT arraySort(groupUniqArray(partition_id)) FROM system.parts WHERE database = currentDatabase() AND table = '"+
		table+"' AND active AND has_lightweight_delete").Scan(&masked)
	if err != nil {
		return err
	}
	for _, id := range masked {
		if err := conn.Exec(quick(ctx), "ALTER TABLE "+table+" APPLY DELETED MASK IN PARTITION ID '"+id+"'"); err != nil {
			return err
		}
	}
	return settled(ctx, conn, table)
}

// quick lets a mutation run in the background: rewriting a month takes longer than one request should be open.
func quick(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 0, "lightweight_deletes_sync": 0}))
}

// settled waits until every mutation of a table is done. One that fails is an error at once: the store tries it again
// for ever, and so will the next enforcement.
func settled(ctx context.Context, conn driver.Conn, table string) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		var open uint64
		var failure string
		err := conn.QueryRow(ctx, "SELECT count(), max(latest_fail_reason) FROM system.mutations WHERE database = currentDatabase() AND table = '"+
			table+"' AND NOT is_done").Scan(&open, &failure)
		switch {
		case err != nil:
			return err
		case failure != "":
			return errors.New(failure)
		case open == 0:
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type partition struct {
	id   string
	rows int64
}

// partitionsOf gives the partitions that hold rows of a condition, and how many.
func partitionsOf(ctx context.Context, conn driver.Conn, table, condition string) (_ []partition, err error) {
	rows, err := conn.Query(ctx, "SELECT toString(_partition_id), toInt64(count()) FROM "+table+" WHERE "+condition+" GROUP BY _partition_id ORDER BY 1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []partition
	for rows.Next() {
		var p partition
		if err := rows.Scan(&p.id, &p.rows); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

func count(ctx context.Context, conn driver.Conn, table, condition string) (n int64, err error) {
	err = conn.QueryRow(ctx, "SELECT toInt64(count()) FROM "+table+" WHERE "+condition).Scan(&n)
	return n, err
}

func (p Policy) oldest(ctx context.Context, conn driver.Conn, t table) (time.Time, error) {
	query := "SELECT count(), min(" + t.clock + ") FROM " + t.name
	if rows := p.covers(); rows != "" {
		query += " WHERE " + rows
	}
	var n uint64
	var oldest time.Time
	if err := conn.QueryRow(ctx, query).Scan(&n, &oldest); err != nil || n == 0 {
		return time.Time{}, err
	}
	return oldest.UTC(), nil
}
