package front_test

import (
	"context"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/store/storetest"
)

// The fixed cost of a request, and the cost of rows, client included.
func BenchmarkRequests(b *testing.B) {
	url, user, password := storetest.Warehouse(b)
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{strings.TrimPrefix(url, "http://")},
		Auth: clickhouse.Auth{Username: user, Password: password, Database: "default"},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	b.Run("select 1", func(b *testing.B) {
		for b.Loop() {
			var one uint8
			if err := conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := conn.Exec(ctx, "CREATE TABLE bench (a UInt64, b String, c Float64) ENGINE = MergeTree ORDER BY a"); err != nil {
		b.Fatal(err)
	}
	for name, rows := range map[string]int{"insert 100": 100, "insert 10000": 10_000} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				batch, err := conn.PrepareBatch(ctx, "INSERT INTO bench")
				if err != nil {
					b.Fatal(err)
				}
				for i := range rows {
					if err := batch.Append(uint64(i), "some text of the row", 1.5); err != nil {
						b.Fatal(err)
					}
				}
				if err := batch.Send(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
