package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// blocks are buffers of inserts that are done, for those to come.
var blocks = sync.Pool{New: func() any { return new(proto.Buffer) }}

// Insert appends rows, given by columns of equal length, to a table. No rows are no error.
//
// With a token the store drops the insert when it has seen the token before, for the last 1,000 inserts of a table that
// has non_replicated_deduplication_window set. The insert is atomic for each partition that it touches.
func Insert(ctx context.Context, conn driver.Conn, table, token string, columns ...Column) error {
	if len(columns) == 0 {
		return fmt.Errorf("inserting into %s: no columns", table)
	}
	rows, names, size := columns[0].rows(), make([]string, len(columns)), len(table)+64
	for i, c := range columns {
		switch n := c.rows(); {
		case n < 0:
			return fmt.Errorf("inserting into %s: column %s has values of type %T, which cannot be sent", table, c.Name, c.Values)
		case n != rows:
			return fmt.Errorf("inserting into %s: column %s has %d rows and %s has %d", table, c.Name, n, columns[0].Name, rows)
		}
		names[i] = c.Name
		size += len(c.Name) + c.size()
	}
	if rows == 0 {
		return nil
	}
	block := blocks.Get().(*proto.Buffer)
	block.Reset()
	block.Buf = slices.Grow(block.Buf, size)
	block.PutRaw(fmt.Appendf(nil, "INSERT INTO %s (%s) FORMAT Native\n", table, strings.Join(names, ", ")))
	if err := appendBlock(block, rows, columns); err != nil {
		return fmt.Errorf("inserting into %s: %w", table, err)
	}
	// An insert must be done when it is answered, and one token must mean one block: no queue of asynchronous inserts.
	if token == "" {
		// A table with a deduplication window takes equal rows for a repetition unless a token tells them apart.
		token = rand.Text()
	}
	settings := clickhouse.Settings{
		"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": token,
		"max_partitions_per_insert_block": 0, // rows of many days must not be refused: nobody could ever store them
		"wait_end_of_query":               1, // so that a failure is the answer's status, not a part of it
	}
	statement := unsafe.String(unsafe.SliceData(block.Buf), len(block.Buf)) //nolint:gosec // nobody writes to it while it is read
	if err := conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), statement); err != nil {
		return fmt.Errorf("inserting into %s: %w", table, err) // the connection may still read the buffer, which nobody gets
	}
	blocks.Put(block)
	return nil
}
