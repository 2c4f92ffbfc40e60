package sync

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/warehouse"
)

// savePatience is how long the record of what was delivered may wait for the warehouse. It is not cut short by the end
// of the run: a page that was delivered and not recorded is sent again.
const savePatience = 60 * time.Second

// state reads and writes the rows of one Sync in sync_state.
type state struct {
	conn driver.Conn
	sync string
	// epoch is the run's: its rows win over those of all earlier runs. Set by the claim.
	epoch uint64
	step  atomic.Uint64
	now   func() time.Time
}

// version gives the next version of this run. 2^32 writes fit into an epoch; the largest run has one per 500 rows.
func (s *state) version() uint64 { return s.epoch<<32 | s.step.Add(1) }

func (s *state) args(more ...any) []any { return append(more, clickhouse.Named("sync", s.sync)) }

// isOwn says whether a version is one of this run's.
func (s *state) isOwn(version uint64) bool { return version>>32 == s.epoch }

// rows reads the rows in a span without their identifiers, ordered by id.
func (s *state) rows(ctx context.Context, in span) iter.Seq2[heldRow, error] {
	query := `SELECT toUUID(profile_id) AS id, payload, identifiers = '' AS never, entry, holder, toString(status) AS status, toString(reason) AS reason, version
FROM sync_state FINAL WHERE sync = @sync AND ` + in.condition("profile_id") + ` ORDER BY profile_id`
	return func(yield func(heldRow, error) bool) {
		rows, err := s.conn.Query(ctx, query, s.args()...)
		if err != nil {
			yield(heldRow{}, fmt.Errorf("reading the state of %s: %w", s.sync, err))
			return
		}
		defer func() { _ = rows.Close() }() // Err has told what went wrong
		for rows.Next() {
			var row heldRow
			var text string
			if err := rows.Scan(&row.id, &row.payload, &row.never, &row.entry, &row.holder, &text, &row.reason, &row.version); err != nil {
				yield(heldRow{}, fmt.Errorf("reading a row of the state of %s: %w", s.sync, err))
				return
			}
			row.status = status(text)
			if !yield(row, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(heldRow{}, fmt.Errorf("reading the state of %s: %w", s.sync, err))
		}
	}
}

// ids reads the ids of rows that a condition selects, those first whose state at the destination is not known.
func (s *state) ids(ctx context.Context, in span, condition string, args ...any) ([]uuid.UUID, error) {
	query := `SELECT toUUID(profile_id) AS id FROM sync_state FINAL WHERE sync = @sync AND ` + in.condition("profile_id") +
		` AND ` + condition + ` ORDER BY status = 'pending' DESC, profile_id`
	var ids []uuid.UUID
	err := ask(ctx, func(ctx context.Context) error {
		ids = ids[:0]
		rows, err := s.conn.Query(ctx, query, s.args(args...)...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells what went wrong
		for rows.Next() {
			var id uuid.UUID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ids in the state of %s: %w", s.sync, err)
	}
	return ids, nil
}

// load reads rows in full, by their ids.
func (s *state) load(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]*heldRow, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	query := `SELECT toUUID(profile_id) AS id, profile, payload, identifiers, entry, holder, toString(status) AS status, toString(reason) AS reason, version
FROM sync_state FINAL WHERE sync = @sync AND profile_id IN @ids`
	found := make(map[uuid.UUID]*heldRow, len(ids))
	err := ask(ctx, func(ctx context.Context) error {
		clear(found)
		rows, err := s.conn.Query(ctx, query, s.args(clickhouse.Named("ids", texts))...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells what went wrong
		for rows.Next() {
			var row heldRow
			var text, encoded string
			if err := rows.Scan(&row.id, &row.profile, &row.payload, &encoded, &row.entry, &row.holder, &text, &row.reason, &row.version); err != nil {
				return err
			}
			row.status = status(text)
			if err := row.decodeIdentifiers(encoded); err != nil {
				return err
			}
			found[row.id] = &row
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading %d rows of the state of %s: %w", len(ids), s.sync, err)
	}
	return found, nil
}

// size counts the rows, and those of them that are pending.
func (s *state) size(ctx context.Context) (rows, open uint64, err error) {
	err = ask(ctx, func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, "SELECT count(), countIf(status = 'pending') FROM sync_state FINAL WHERE sync = @sync AND profile_id < '"+behind+"'", s.args()...).Scan(&rows, &open)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("counting the rows in the state of %s: %w", s.sync, err)
	}
	return rows, open, nil
}

// held counts the rows that the destination holds: those that it took, and those of which it refused a change.
func (s *state) held(ctx context.Context) (rows uint64, err error) {
	err = ask(ctx, func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, `SELECT countIf(status = 'delivered' OR status = 'rejected' AND identifiers != '')
FROM sync_state FINAL WHERE sync = @sync AND profile_id < '`+behind+"'", s.args()...).Scan(&rows)
	})
	if err != nil {
		return 0, fmt.Errorf("counting the rows that the destination of %s holds: %w", s.sync, err)
	}
	return rows, nil
}

// change is a row to write: a row, or the end of one.
type change struct {
	heldRow
	deleted bool
}

// save writes rows. They are there when it returns without an error, whatever happens to the process or the store.
func (s *state) save(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	n := len(changes)
	syncs, ids, payloads, texts := make([]string, n), make([]string, n), make([]uint64, n), make([]string, n)
	profiles, entries, holders := make([]uint64, n), make([]uint64, n), make([]uint64, n)
	statuses, reasons, ats, versions, deleted := make([]string, n), make([]string, n), make([]time.Time, n), make([]uint64, n), make([]uint8, n)
	at := s.now().UTC()
	for i, c := range changes {
		syncs[i], ids[i], ats[i] = s.sync, c.id.String(), at
		payloads[i], statuses[i], reasons[i], versions[i] = c.payload, string(c.status), c.reason, c.version
		if c.deleted {
			deleted[i] = 1 // and no identifiers: what was taken out leaves nothing personal behind
		} else {
			texts[i], profiles[i], entries[i], holders[i] = c.encodeIdentifiers(), c.profile, c.entry, c.holder
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	err := warehouse.Retry(ctx, func() error {
		return warehouse.Insert(ctx, s.conn, "sync_state", "",
			warehouse.Column{Name: "sync", Type: "String", Values: syncs},
			warehouse.Column{Name: "profile_id", Type: "String", Values: ids},
			warehouse.Column{Name: "profile", Type: "UInt64", Values: profiles},
			warehouse.Column{Name: "entry", Type: "UInt64", Values: entries},
			warehouse.Column{Name: "holder", Type: "UInt64", Values: holders},
			warehouse.Column{Name: "payload", Type: "UInt64", Values: payloads},
			warehouse.Column{Name: "identifiers", Type: "String", Values: texts},
			warehouse.Column{Name: "status", Type: "String", Values: statuses},
			warehouse.Column{Name: "reason", Type: "String", Values: reasons},
			warehouse.Column{Name: "at", Type: "DateTime64(3, 'UTC')", Values: ats},
			warehouse.Column{Name: "version", Type: "UInt64", Values: versions},
			warehouse.Column{Name: "deleted", Type: "UInt8", Values: deleted})
	})
	if err != nil {
		return fmt.Errorf("recording %d rows of %s: %w", n, s.sync, err)
	}
	return nil
}
