package front_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
)

// Everything at once: the engine runs in one process for all requests, so a
// wrong handle or a connection used twice would show here as a crash, a wrong
// count or a statement that never ends. KOHORT_LONG=1 makes it a minute.
func TestStress(t *testing.T) {
	lasts := 3 * time.Second
	if os.Getenv("KOHORT_LONG") != "" {
		lasts = time.Minute
	}
	p := storetest.StartWarehouse(t, warehouse.Config{})
	conn := open(t, p.URL, func(o *clickhouse.Options) { o.MaxOpenConns = 20 })
	lz4 := open(t, p.URL, func(o *clickhouse.Options) {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	})
	exec(t, conn, "CREATE TABLE stress (writer UInt8, a UInt64) ENGINE = MergeTree ORDER BY a")
	ctx, stop := context.WithTimeout(t.Context(), lasts)
	defer stop()
	var stored, statements atomic.Uint64
	var wg sync.WaitGroup
	worker := func(what string, do func(i int) error) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := do(i); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				statements.Add(1)
			}
		})
	}
	code := func(err error, want int32) error {
		var ex *clickhouse.Exception
		if !errors.As(err, &ex) || ex.Code != want {
			return fmt.Errorf("want exception %d, got %w", want, err)
		}
		return nil
	}
	for w := range 3 {
		c := conn
		if w == 0 {
			c = lz4
		}
		worker("insert", func(int) error {
			batch, err := c.PrepareBatch(t.Context(), "INSERT INTO stress")
			if err != nil {
				return err
			}
			for i := range uint64(500) {
				if err := batch.Append(uint8(w), i); err != nil {
					return err
				}
			}
			if err := batch.Send(); err != nil {
				return err
			}
			stored.Add(500)
			return nil
		})
	}
	worker("aggregate", func(int) error {
		return drain(t.Context(), lz4, "SELECT writer, count(), uniqExact(a) FROM stress GROUP BY writer ORDER BY writer")
	})
	worker("read all", func(int) error { return drain(t.Context(), conn, "SELECT * FROM stress ORDER BY a LIMIT 20000") })
	worker("errors", func(i int) error { return code(drain(t.Context(), conn, "SELECT * FROM nowhere"), 60) })
	worker("late errors", func(int) error {
		return code(drain(t.Context(), lz4, "SELECT throwIf(number = 300000) FROM numbers(400000)"), 395)
	})
	worker("ddl", func(i int) error {
		name := fmt.Sprintf("made_%d", i)
		return errors.Join(
			conn.Exec(t.Context(), "CREATE TABLE "+name+" (a UInt64) ENGINE = MergeTree ORDER BY a"),
			conn.Exec(t.Context(), "INSERT INTO "+name+" VALUES (1)"),
			conn.Exec(t.Context(), "ALTER TABLE "+name+" DELETE WHERE a = 1 SETTINGS mutations_sync = 1"),
			conn.Exec(t.Context(), "DROP TABLE "+name+" SYNC"))
	})
	for range 2 {
		worker("cancel", func(int) error {
			gaveUp, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(60))*time.Millisecond)
			defer cancel()
			err := drain(gaveUp, conn, "SELECT sum(cityHash64(number, 'given up')) FROM numbers_mt(100000000000)")
			if errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
			return fmt.Errorf("a query that was given up returned %w", err)
		})
	}
	wg.Wait()
	if got := one[uint64](t, conn, "SELECT count() FROM stress"); got != stored.Load() {
		t.Errorf("%d rows are stored, %d were acknowledged", got, stored.Load())
	}
	deadline := time.Now().Add(5 * time.Second)
	for one[uint64](t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%given up%' AND query NOT LIKE '%processes%'") > 0 {
		if time.Now().After(deadline) {
			t.Fatal("queries still run 5 s after their clients gave them up")
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("%d statements, %d rows", statements.Load(), stored.Load())
}
