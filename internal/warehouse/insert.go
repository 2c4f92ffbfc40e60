package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"reflect"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Column is one column of rows to insert.
type Column struct {
	Name string
	// Type that the values are sent as. It may be a plainer one than the table's: String for LowCardinality(String) is
	// cast by the store and spares the client a map look-up for every value.
	Type string
	// Values is a slice with one element a row, of a type that clickhouse-go takes for Type.
	Values any
}

// Insert appends rows, given by columns of equal length, to a table. No rows are no error.
//
// With a token the store drops the insert when it has seen the token before, for the last 1,000 inserts of a table that
// has non_replicated_deduplication_window set. The insert is atomic for each partition that it touches.
func Insert(ctx context.Context, conn driver.Conn, table, token string, columns ...Column) error {
	if len(columns) == 0 {
		return fmt.Errorf("inserting into %s: no columns", table)
	}
	rows := reflect.ValueOf(columns[0].Values).Len()
	names := make([]string, len(columns))
	types := make([]clickhouse.ColumnNameAndType, len(columns))
	for i, c := range columns {
		// The driver answers a ragged block with an insert of nothing and no error, so it must not get one.
		if n := reflect.ValueOf(c.Values).Len(); n != rows {
			return fmt.Errorf("inserting into %s: column %s has %d rows and %s has %d", table, c.Name, n, columns[0].Name, rows)
		}
		names[i] = c.Name
		types[i] = clickhouse.ColumnNameAndType{Name: c.Name, Type: c.Type}
	}
	if rows == 0 {
		return nil
	}
	// An insert must be done when it is answered, and one token must mean one block: no queue of asynchronous inserts.
	if token == "" {
		// A table with a deduplication window takes equal rows for a repetition unless a token tells them apart.
		token = rand.Text()
	}
	// Rows of many days must not be refused: nobody could ever store them.
	settings := clickhouse.Settings{
		"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": token, "max_partitions_per_insert_block": 0,
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(settings), clickhouse.WithColumnNamesAndTypes(types))
	batch, err := conn.PrepareBatch(ctx, fmt.Sprintf("INSERT INTO %s (%s)", table, strings.Join(names, ", ")))
	if err != nil {
		return fmt.Errorf("preparing an insert into %s: %w", table, err)
	}
	defer func() { _ = batch.Close() }()
	for i, c := range columns {
		if err := batch.Column(i).Append(c.Values); err != nil {
			return fmt.Errorf("encoding %s.%s: %w", table, c.Name, err)
		}
	}
	if batch.Rows() != rows {
		return fmt.Errorf("inserting into %s: %d of %d rows were encoded", table, batch.Rows(), rows)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("inserting into %s: %w", table, err)
	}
	return nil
}
