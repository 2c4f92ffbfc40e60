package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/warehouse"
)

const (
	// countShare is the part of the time that counting may take, one twentieth, unless it takes over three seconds.
	countShare = 20
	// recount is how often counts are made anew although no table has grown.
	recount = 5 * time.Minute
)

// counting keeps the numbers of Platform and Sources current, as far as that is cheap.
type counting struct {
	facts   *facts
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time
}

// run counts until ctx ends.
func (c *counting) run(ctx context.Context, conn driver.Conn) error {
	var last totals
	var counted time.Time
	for {
		rest := statusEvery
		totals, err := total(ctx, conn)
		if began := c.now(); err == nil && (totals != last || began.Sub(counted) >= recount) {
			var seen *census
			if seen, err = count(ctx, conn, totals); err == nil {
				seen.plans, err = violating(ctx, conn, began.Add(-violatingSpan))
			}
			if err == nil {
				last, counted = totals, began
				c.metrics.show(seen.plans)
				c.facts.update(func(f *facts) { f.census = seen })
				rest = min(max(rest, countShare*c.now().Sub(began)), longestWait)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.logger.Warn("counting profiles and events; trying again", "error", err.Error())
		}
		if !pause(ctx, rest) {
			return nil
		}
	}
}

// totals are numbers that the warehouse knows without reading rows, and that change when anything else does.
type totals struct{ events, quarantine, released, violations, profiles, overrides uint64 }

func total(ctx context.Context, conn driver.Conn) (t totals, err error) {
	for table, n := range map[string]*uint64{"events": &t.events, "quarantine": &t.quarantine, "quarantine_released": &t.released, "violations": &t.violations, "profiles": &t.profiles, "profile_overrides": &t.overrides} {
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+table).Scan(n); err != nil {
			return t, fmt.Errorf("counting %s: %w", table, err)
		}
	}
	return t, nil
}

func count(ctx context.Context, conn driver.Conn, t totals) (*census, error) {
	c := &census{events: int64(t.events), sources: map[string]sourceCount{}}
	schema, err := warehouse.SchemaVersion(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("reading the schema's version: %w", err)
	}
	c.schema = int64(schema)
	// profile_overrides has a row per merged profile, of which there are few beside all.
	err = conn.QueryRow(ctx, "SELECT toInt64(uniqExact(profile)) FROM profiles WHERE profile NOT IN (SELECT profile FROM profile_overrides)").Scan(&c.profiles)
	if err != nil {
		return nil, fmt.Errorf("counting profiles: %w", err)
	}
	rows, err := conn.Query(ctx, `SELECT toString(source), sum(accepted), sum(rejected), max(last) FROM (
		SELECT source, toInt64(count()) AS accepted, toInt64(0) AS rejected, max(received) AS last FROM events GROUP BY source
		UNION ALL SELECT source, 0, toInt64(count()), toDateTime64(0, 3, 'UTC') FROM quarantine WHERE id NOT IN (SELECT id FROM quarantine_released) GROUP BY source) GROUP BY source`)
	if err != nil {
		return nil, fmt.Errorf("counting events by source: %w", err)
	}
	for rows.Next() {
		var name string
		var s sourceCount
		if err := rows.Scan(&name, &s.accepted, &s.rejected, &s.last); err != nil {
			return nil, fmt.Errorf("counting events by source: %w", errors.Join(err, rows.Close()))
		}
		if s.accepted == 0 {
			s.last = time.Time{}
		}
		c.sources[name] = s
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("counting events by source: %w", err)
	}
	return c, nil
}
