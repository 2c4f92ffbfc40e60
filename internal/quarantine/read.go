package quarantine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Row is something that could not be taken in.
type Row struct {
	ID       string    `json:"id"` // 32 hexadecimal digits
	Source   string    `json:"source"`
	Party    string    `json:"party"`
	Stage    string    `json:"stage"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	Original string    `json:"original"`
	Received time.Time `json:"received"`
	// Released says that it was let in again.
	Released bool `json:"released,omitempty"`

	// Record is what mapping Original again takes; empty when Original is an event.
	Record string `json:"-"`

	seq uint64
}

const columns = "hex(id), toString(source), toString(party), toString(stage), toString(reason), message, original, record, received, seq, id IN (SELECT id FROM quarantine_released)"

// List gives rows, newest first, at most limit.
func List(ctx context.Context, conn driver.Conn, f Filter, limit int) ([]Row, error) {
	where, args := f.where()
	return read(ctx, conn, fmt.Sprintf("SELECT %s FROM quarantine WHERE %s ORDER BY received DESC, seq DESC, id LIMIT %d", columns, where, limit), args)
}

func read(ctx context.Context, conn driver.Conn, query string, args []any) ([]Row, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading quarantine: %w", err)
	}
	out := []Row{}
	for rows.Next() {
		var r Row
		var released uint8
		if err := rows.Scan(&r.ID, &r.Source, &r.Party, &r.Stage, &r.Reason, &r.Message, &r.Original, &r.Record, &r.Received, &r.seq, &released); err != nil {
			return nil, fmt.Errorf("reading quarantine: %w", errors.Join(err, rows.Close()))
		}
		r.Released = released != 0
		out = append(out, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("reading quarantine: %w", err)
	}
	return out, nil
}

// Group is how many rows were refused alike.
type Group struct {
	Source string `json:"source"`
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	Rows   uint64 `json:"rows"`
	// Redrivable is how many of them are events, or records that can be mapped again.
	Redrivable uint64 `json:"redrivable"`
}

// Count groups the rows that a filter chooses, the most frequent first.
func Count(ctx context.Context, conn driver.Conn, f Filter) ([]Group, error) {
	where, args := f.where()
	rows, err := conn.Query(ctx, "SELECT toString(source), toString(stage), toString(reason), count() AS n, countIf("+redrivable+") FROM quarantine WHERE "+where+
		" GROUP BY source, stage, reason ORDER BY n DESC, source, stage, reason", args...)
	if err != nil {
		return nil, fmt.Errorf("counting quarantine: %w", err)
	}
	out := []Group{}
	for rows.Next() {
		var g Group
		if err := rows.Scan(&g.Source, &g.Stage, &g.Reason, &g.Rows, &g.Redrivable); err != nil {
			return nil, fmt.Errorf("counting quarantine: %w", errors.Join(err, rows.Close()))
		}
		out = append(out, g)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("counting quarantine: %w", err)
	}
	return out, nil
}

// Place is how far a redrive has come. It does not look at rows that came into quarantine after it began, or what is
// refused again would go round for ever.
type Place struct {
	Through uint64 // newest message of the stream when it began
	Seq     uint64 // of the last row sent
	ID      string // of it
}

// String writes a place as a cursor.
func (p Place) String() string { return fmt.Sprintf("%d-%d-%s", p.Through, p.Seq, p.ID) }

// ErrBadPlace says that a text is no cursor of a redrive.
var ErrBadPlace = errors.New("no cursor of an earlier answer")

// ParsePlace reads a cursor.
func ParsePlace(text string) (p Place, err error) {
	if n, err := fmt.Sscanf(text, "%d-%d-%s", &p.Through, &p.Seq, &p.ID); err != nil || n != 3 {
		return p, ErrBadPlace
	}
	if id, err := hex.DecodeString(p.ID); err != nil || len(id) != 16 {
		return p, ErrBadPlace
	}
	return p, nil
}

// begin is the place before the first row.
func begin(ctx context.Context, conn driver.Conn) (p Place, err error) {
	p.ID = "00000000000000000000000000000000"
	if err := conn.QueryRow(ctx, "SELECT max(seq) FROM quarantine").Scan(&p.Through); err != nil {
		return p, fmt.Errorf("reading quarantine: %w", err)
	}
	return p, nil
}

// after gives the rows that a redrive sends next, in the order in which they came, at most limit.
func after(ctx context.Context, conn driver.Conn, f Filter, p Place, limit int) ([]Row, error) {
	f.Released = false
	where, args := f.where()
	return read(ctx, conn, fmt.Sprintf("SELECT %s FROM quarantine WHERE %s AND %s AND seq <= %d AND (seq, id) > (%d, toFixedString(unhex('%s'), 16)) ORDER BY seq, id LIMIT %d",
		columns, where, redrivable, p.Through, p.Seq, p.ID, limit), args)
}
