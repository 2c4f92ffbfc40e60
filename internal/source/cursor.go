package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/warehouse"
)

// cursorPatience is how long the warehouse may be away.
const cursorPatience = 2 * time.Minute

// Cursors says how far a Source was read, kept in the warehouse's table cursors.
type Cursors struct {
	conn   driver.Conn
	source string
	now    func() time.Time
}

// NewCursors gives the cursors of a Source.
func NewCursors(conn driver.Conn, source string, now func() time.Time) *Cursors {
	return &Cursors{conn: conn, source: source, now: now}
}

// get gives the value of a key, or "" when there is none.
func (c *Cursors) get(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cursorPatience)
	defer cancel()
	var value string
	err := warehouse.Retry(ctx, func() error {
		row := c.conn.QueryRow(ctx, "SELECT value FROM cursors FINAL WHERE source = ? AND key = ?", c.source, key)
		return row.Scan(&value)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the cursor %s of source %s: %w", key, c.source, err)
	}
	return value, nil
}

// set keeps the value of a key. The newest by the clock wins; runs of a Source do not overlap.
func (c *Cursors) set(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, cursorPatience)
	defer cancel()
	err := warehouse.Retry(ctx, func() error {
		return warehouse.Insert(ctx, c.conn, "cursors", "",
			warehouse.Column{Name: "source", Type: "String", Values: []string{c.source}},
			warehouse.Column{Name: "key", Type: "String", Values: []string{key}},
			warehouse.Column{Name: "value", Type: "String", Values: []string{value}},
			warehouse.Column{Name: "version", Type: "UInt64", Values: []uint64{uint64(c.now().UnixMicro())}})
	})
	if err != nil {
		return fmt.Errorf("keeping the cursor %s of source %s: %w", key, c.source, err)
	}
	return nil
}
