package warehouse

import (
	"context"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Each runs a query and calls scan for each row of its result, until one fails.
func Each(ctx context.Context, conn driver.Conn, query string, scan func(driver.Rows) error) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// WithParameters gives queries the values of their {name:String} places, whatever the values hold.
func WithParameters(ctx context.Context, values map[string]string) context.Context {
	parameters := clickhouse.Parameters{}
	for name, value := range values {
		parameters[name] = parameterText.Replace(value)
	}
	return clickhouse.Context(ctx, clickhouse.WithParameters(parameters))
}

// parameterText writes a value as ClickHouse reads parameters: as a field of TSV.
var parameterText = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`)
