package front_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/store/storetest"
)

// open connects the client library that every worker uses.
func open(t *testing.T, url string, change ...func(*clickhouse.Options)) driver.Conn {
	t.Helper()
	opts := &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{strings.TrimPrefix(url, "http://")},
		Auth:     clickhouse.Auth{Username: storetest.User, Password: storetest.Password, Database: "default"},
	}
	for _, c := range change {
		c(opts)
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the single value of a query.
func one[T any](t *testing.T, conn driver.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// row has one field per type that the product's tables use, or may.
type row struct {
	ID      uint64            `ch:"id"`
	Name    string            `ch:"name"`
	Maybe   *string           `ch:"maybe"`
	Kind    string            `ch:"kind"`
	Tags    []string          `ch:"tags"`
	Props   map[string]string `ch:"props"`
	At      time.Time         `ch:"at"`
	Day     time.Time         `ch:"day"`
	Profile uuid.UUID         `ch:"profile"`
	Amount  float64           `ch:"amount"`
	Small   int8              `ch:"small"`
	Flag    bool              `ch:"flag"`
	State   string            `ch:"state"`
	Pairs   [][]uint32        `ch:"pairs"`
}

const rowTable = `CREATE TABLE typed (
	id UInt64, name String, maybe Nullable(String), kind LowCardinality(String), tags Array(String),
	props Map(String, String), at DateTime64(3, 'UTC'), day Date32, profile UUID, amount Float64, small Int8,
	flag Bool, state Enum8('in' = 1, 'out' = 2), pairs Array(Array(UInt32))
) ENGINE = MergeTree ORDER BY id`

func sample(i int) row {
	maybe := fmt.Sprintf("maybe %d", i)
	r := row{
		ID: uint64(i), Name: fmt.Sprintf("näme\t%d\n'\\", i), Kind: "track", Tags: []string{"a", fmt.Sprint(i)},
		Props: map[string]string{"k": fmt.Sprint(i)}, At: time.Date(2026, 3, 1, 12, 0, i%60, 5e6, time.UTC),
		Day: time.Date(1955, 7, 4, 0, 0, 0, 0, time.UTC), Profile: uuid.NewSHA1(uuid.Nil, []byte{byte(i)}),
		Amount: float64(i) / 3, Small: int8(-i % 100), Flag: i%2 == 0, State: "out", Pairs: [][]uint32{{1, 2}, {}},
	}
	if i%3 != 0 {
		r.Maybe = &maybe
	}
	return r
}

// Every compression that the client library offers must carry the same rows in
// both directions: each has framing of its own in the front.
func TestRowsRoundTrip(t *testing.T) {
	url, _, _ := storetest.Warehouse(t)
	for name, c := range map[string]*clickhouse.Compression{
		"none": nil, "lz4": {Method: clickhouse.CompressionLZ4},
		"zstd": {Method: clickhouse.CompressionZSTD, Level: 3}, "gzip": {Method: clickhouse.CompressionGZIP, Level: 1},
	} {
		t.Run(name, func(t *testing.T) {
			conn := open(t, url, func(o *clickhouse.Options) { o.Compression = c })
			exec(t, conn, "DROP TABLE IF EXISTS typed")
			exec(t, conn, rowTable)
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO typed")
			if err != nil {
				t.Fatal(err)
			}
			const n = 20_000 // more than one block of the answer
			for i := range n {
				r := sample(i)
				if err := batch.AppendStruct(&r); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := conn.Query(t.Context(), "SELECT * FROM typed ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			i := 0
			for ; rows.Next(); i++ {
				var got row
				if err := rows.ScanStruct(&got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sample(i), got); diff != "" {
					t.Fatalf("row %d differs (-sent +got):\n%s", i, diff)
				}
			}
			if err := rows.Err(); err != nil || i != n {
				t.Errorf("got %d rows and error %v, want %d rows", i, err, n)
			}
		})
	}
}

func TestStatements(t *testing.T) {
	url, _, _ := storetest.Warehouse(t)
	conn := open(t, url)
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatalf("ping: %v", err)
	}
	if v, err := conn.ServerVersion(); err != nil || v.Revision != 0 || v.Timezone.String() != "UTC" {
		t.Errorf("the hello query gave %+v and error %v, want revision 0 and UTC", v, err)
	}

	text := "it's \"quoted\"\tand\nbroken \\ up"
	if got := one[string](t, conn, "SELECT {x:String}", clickhouse.Named("x", text)); got != text {
		t.Errorf("a text parameter came back as %q, want %q", got, text)
	}
	if got := one[uint64](t, conn, "SELECT sum(arrayJoin({ids:Array(UInt64)}))", clickhouse.Named("ids", []uint64{1, 2, 3})); got != 6 {
		t.Errorf("the sum over an array parameter is %d, want 6", got)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := one[time.Time](t, conn, "SELECT {d:DateTime}", clickhouse.DateNamed("d", at, clickhouse.Seconds)); !got.Equal(at) {
		t.Errorf("a time parameter came back as %s, want %s", got, at)
	}

	exec(t, conn, "CREATE DATABASE other")
	exec(t, conn, "CREATE TABLE other.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	there := open(t, url, func(o *clickhouse.Options) { o.Auth.Database = "other" })
	exec(t, there, "INSERT INTO t VALUES (1, 'x;y'), (?, ?)", uint64(2), text)
	exec(t, there, "INSERT INTO t SELECT number + 10, 'n' FROM numbers(5)")
	exec(t, there, "INSERT INTO t FORMAT JSONEachRow {\"a\":3,\"b\":\"j\"}\n{\"a\":4,\"b\":\"k\"}")
	if got := one[uint64](t, there, "SELECT sum(a) FROM t"); got != 1+2+3+4+10+11+12+13+14 {
		t.Errorf("the sum of all inserted values is %d, want 70", got)
	}
	if got := one[string](t, there, "SELECT b FROM t WHERE a = 2"); got != text {
		t.Errorf("a bound text was stored as %q, want %q", got, text)
	}
	rows, err := there.Query(t.Context(), "SELECT a FROM t WHERE a > 1000")
	if err != nil {
		t.Fatal(err)
	}
	if rows.Next() || rows.Err() != nil {
		t.Errorf("an empty result has a row, or the error %v", rows.Err())
	}
	rows.Close()
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_threads": 3}))
	var threads uint64
	if err := conn.QueryRow(ctx, "SELECT toUInt64(getSetting('max_threads'))").Scan(&threads); err != nil || threads != 3 {
		t.Errorf("a setting of one query is %d there (error %v), want 3", threads, err)
	}
	if got := one[uint64](t, conn, "SELECT toUInt64(getSetting('max_threads'))"); got == 3 {
		t.Error("the setting of one query is still there in the next")
	}
}

// Every refusal reaches the client library as its typed error, with
// ClickHouse's code, wherever it arises.
func TestErrorsAreTyped(t *testing.T) {
	url, _, _ := storetest.Warehouse(t)
	conn := open(t, url)
	exec(t, conn, "CREATE TABLE t (a UInt64, CONSTRAINT small CHECK a < 10) ENGINE = Memory")
	setting := func(name string, value any) context.Context {
		return clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{name: value}))
	}
	for _, c := range []struct {
		why  string
		ctx  context.Context
		sql  string
		code int32
		name string
		http int // 0: the answer had begun
	}{
		{"the engine's own error before the first row", nil, "SELECT * FROM nowhere", 60, "UNKNOWN_TABLE", 404},
		{"a statement that does not parse", nil, "SELEKT 1", 62, "SYNTAX_ERROR", 400},
		{"an abbreviated SELECT, which the engine's local dialect would run", nil, "selec", 62, "SYNTAX_ERROR", 400},
		{"a setting that does not exist, which the engine would ignore as an argument", setting("no_such_setting", 1), "SELECT 1", 115, "UNKNOWN_SETTING", 404},
		{"a setting with a value that is none", setting("max_threads", "many"), "SELECT 1", 27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", 400},
		{"a time limit", setting("max_execution_time", 0.2), "SELECT count() FROM numbers_mt(1000000000000) WHERE cityHash64(number) = 1", 159, "TIMEOUT_EXCEEDED", 408},
		{"a constraint of the table, in an INSERT with VALUES", nil, "INSERT INTO t VALUES (11)", 469, "VIOLATED_CONSTRAINT", 500},
		{"memory of one query", setting("max_memory_usage", 1_000_000), "SELECT groupArray(number) FROM numbers(10000000)", 241, "MEMORY_LIMIT_EXCEEDED", 503},
		{"an error after rows were sent", setting("max_block_size", 1000), "SELECT throwIf(number = 500000) FROM numbers(1000000)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 0},
		{"two statements", nil, "SELECT 1; SELECT 2", 62, "SYNTAX_ERROR", 400},
		{"a file of the server", nil, "SELECT * FROM file('/etc/passwd')", 497, "ACCESS_DENIED", 403},
		{"a file through a function", nil, "SELECT `file`('/etc/passwd')", 497, "ACCESS_DENIED", 403},
		{"a file through a table engine", nil, "CREATE TABLE f (a String) ENGINE = File(LineAsString, '/etc/passwd')", 497, "ACCESS_DENIED", 403},
		{"another server", nil, "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", 497, "ACCESS_DENIED", 403},
		{"another server through a database", nil, "CREATE DATABASE d ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c')", 497, "ACCESS_DENIED", 403},
		{"writing a file", nil, "SELECT 1 INTO OUTFILE '/tmp/kohort-never'", 497, "ACCESS_DENIED", 403},
		{"reading a file into a table", nil, "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 497, "ACCESS_DENIED", 403},
		{"ending the engine", nil, "SYSTEM SHUTDOWN", 497, "ACCESS_DENIED", 403},
		{"making users of the engine's own", nil, "CREATE USER x", 497, "ACCESS_DENIED", 403},
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		err := drain(ctx, conn, c.sql)
		var ex *clickhouse.Exception
		if !errors.As(err, &ex) {
			t.Errorf("%s: %s gave %v, which is no exception of ClickHouse", c.why, c.sql, err)
			continue
		}
		if ex.Code != c.code || !strings.Contains(ex.CodeName, c.name) {
			t.Errorf("%s: %s gave code %d %s, want %d %s: %s", c.why, c.sql, ex.Code, ex.CodeName, c.code, c.name, ex.Message)
		}
		var status *clickhouse.HTTPError
		if got := errors.As(err, &status); got != (c.http != 0) || got && status.StatusCode != c.http {
			t.Errorf("%s: %s gave %+v, want HTTP status %d", c.why, c.sql, status, c.http)
		}
	}
	if got := one[uint8](t, conn, "SELECT 1"); got != 1 {
		t.Errorf("after all refusals SELECT 1 gives %d", got)
	}
}

// drain runs a statement and reads all its rows.
func drain(ctx context.Context, conn driver.Conn, sql string) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func TestBatchErrorsAreTyped(t *testing.T) {
	url, _, _ := storetest.Warehouse(t)
	conn := open(t, url)
	exec(t, conn, "CREATE TABLE t (a UInt64, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a")
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(100) {
		if err := batch.Append(i); err != nil {
			t.Fatal(err)
		}
	}
	var ex *clickhouse.Exception
	if err := batch.Send(); !errors.As(err, &ex) || ex.Code != 469 {
		t.Fatalf("a batch that violates a constraint gave %v, want exception 469", err)
	}
	if got := one[uint64](t, conn, "SELECT count() FROM t"); got != 0 {
		t.Errorf("%d rows of the refused batch are stored, want 0", got)
	}
}

// What a client no longer waits for must not go on using the store.
func TestCancelEndsTheStatement(t *testing.T) {
	url, _, _ := storetest.Warehouse(t)
	conn := open(t, url)
	const endless = "SELECT count() FROM numbers_mt(1000000000000) WHERE cityHash64(number, 'cancelled') = 1"
	for i := range 10 {
		// The first ones give up before the engine has even registered the query.
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*i)*3*time.Millisecond)
		if err := drain(ctx, conn, endless); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a query that was given up returned %v", err)
		}
		cancel()
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := one[uint64](t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%cancelled%' AND query NOT LIKE '%system.processes%'")
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d queries still run 5 s after their clients went away", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
