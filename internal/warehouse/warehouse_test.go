package warehouse_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func column(t *testing.T, conn driver.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMigrateIsRepeatable(t *testing.T) {
	conn := warehousetest.Open(t)
	before := column(t, conn, "SELECT name FROM system.tables WHERE database = 'kohort' ORDER BY name")
	version, err := warehouse.SchemaVersion(t.Context(), conn)
	if err != nil || version < 1 {
		t.Fatalf("schema version is %d, %v", version, err)
	}
	// A crash before the version was recorded leaves the tables behind: the same statements run again.
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE schema_migrations"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := warehouse.Migrate(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	after := column(t, conn, "SELECT name FROM system.tables WHERE database = 'kohort' ORDER BY name")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("tables changed (-before +after):\n%s", diff)
	}
	again, err := warehouse.SchemaVersion(t.Context(), conn)
	if err != nil || again != version {
		t.Errorf("schema version is %d after another run, %v; want %d", again, err, version)
	}
}

func TestMigrateRefusesNewerSchema(t *testing.T) {
	conn := warehousetest.Open(t)
	if err := conn.Exec(t.Context(), "INSERT INTO schema_migrations (version, name) VALUES (9999, 'later')"); err != nil {
		t.Fatal(err)
	}
	err := warehouse.Migrate(t.Context(), conn)
	if err == nil || !strings.Contains(err.Error(), "9999") {
		t.Errorf("migrating a schema of a later release gave %v, want an error that names its version", err)
	}
}

// A table that erasure and retention do not know would keep what must go.
func TestEveryTableIsListed(t *testing.T) {
	conn := warehousetest.Open(t)
	// A view that fills a table holds nothing itself.
	have := column(t, conn, "SELECT name FROM system.tables WHERE database = 'kohort' AND engine != 'MaterializedView' ORDER BY name")
	var listed []string
	for _, table := range warehouse.Tables() {
		listed = append(listed, table.Name)
	}
	slices.Sort(listed)
	if diff := cmp.Diff(listed, have); diff != "" {
		t.Errorf("the list of tables and the database differ (-listed +database):\n%s", diff)
	}
	for _, table := range warehouse.Tables() {
		columns := column(t, conn, "SELECT name FROM system.columns WHERE database = 'kohort' AND table = '"+table.Name+"'")
		named := append([]string{table.Profile, table.ProfileID, table.Received, table.Occurred}, table.Texts...)
		for _, pair := range table.Identifiers {
			named = append(named, pair[0], pair[1])
		}
		for _, name := range named {
			if name != "" && !slices.Contains(columns, name) {
				t.Errorf("%s has no column %s", table.Name, name)
			}
		}
		addressed := table.Profile != "" || table.ProfileID != "" || len(table.Identifiers) > 0 || len(table.Texts) > 0
		if table.Personal && !addressed {
			t.Errorf("%s holds personal data and nothing says how to find a customer's", table.Name)
		}
	}
}

func TestInsertTokenAndShape(t *testing.T) {
	conn := warehousetest.Open(t)
	insert := func(token string, lasts ...uint64) error {
		firsts, states, at := make([]uint64, len(lasts)), make([]string, len(lasts)), make([]time.Time, len(lasts))
		for i := range lasts {
			firsts[i], states[i], at[i] = 1, "done", time.Unix(0, 0)
		}
		return warehouse.Insert(t.Context(), conn, "ingest_log", token,
			warehouse.Column{Name: "first_seq", Type: "UInt64", Values: firsts}, warehouse.Column{Name: "last_seq", Type: "UInt64", Values: lasts},
			warehouse.Column{Name: "state", Type: "String", Values: states}, warehouse.Column{Name: "at", Type: "DateTime64(3, 'UTC')", Values: at})
	}
	for _, step := range []struct {
		token string
		rows  []uint64
	}{{"a", []uint64{1}}, {"a", []uint64{1}}, {"a", []uint64{2}}, {"b", []uint64{3}}, {"", []uint64{4}}, {"", []uint64{4}}, {"c", nil}} {
		if err := insert(step.token, step.rows...); err != nil {
			t.Fatal(err)
		}
	}
	got := column(t, conn, "SELECT toString(last_seq) FROM ingest_log ORDER BY last_seq")
	// The token decides, not the content: the first insert of "a" wins. Without a token nothing is dropped.
	if diff := cmp.Diff([]string{"1", "3", "4", "4"}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	err := warehouse.Insert(t.Context(), conn, "ingest_log", "",
		warehouse.Column{Name: "first_seq", Type: "UInt64", Values: []uint64{1, 2}}, warehouse.Column{Name: "last_seq", Type: "UInt64", Values: []uint64{1}})
	if err == nil || !strings.Contains(err.Error(), "last_seq has 1 rows") {
		t.Errorf("columns of unequal length gave %v", err)
	}
}

// Values of each type come out of the store as they went in.
func TestInsertTypes(t *testing.T) {
	conn := warehousetest.Open(t)
	if err := conn.Exec(t.Context(), `CREATE TABLE typed (s String, low LowCardinality(String), kind Enum8('a' = 1, 'b' = 2), hash FixedString(16),
		u8 UInt8, u32 UInt32, u64 UInt64, id UUID, at DateTime('UTC'), ms DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY u64`); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü\n", 100_000)
	insert := func(more ...warehouse.Column) error {
		return warehouse.Insert(t.Context(), conn, "typed", "", append([]warehouse.Column{
			{Name: "s", Type: "String", Values: []string{"", long}}, {Name: "low", Type: "String", Values: []string{"x", "\n\t"}}, {Name: "kind", Type: "String", Values: []string{"b", "a"}},
			{Name: "hash", Type: "FixedString(16)", Values: [][16]byte{{}, [16]byte([]byte("0123456789abcdef"))}}, {Name: "u8", Type: "UInt8", Values: []uint8{0, 255}},
			{Name: "u32", Type: "UInt32", Values: []uint32{0, 1<<32 - 1}}, {Name: "u64", Type: "UInt64", Values: []uint64{0, 1<<64 - 1}},
			{Name: "id", Type: "UUID", Values: []uuid.UUID{{}, uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")}},
			{Name: "at", Type: "DateTime('UTC')", Values: []time.Time{time.Unix(0, 0), time.Unix(1<<32-1, 0)}},
		}, more...)...)
	}
	millis := warehouse.Column{Name: "ms", Type: "DateTime64(3, 'UTC')", Values: []time.Time{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2299, 12, 31, 23, 59, 59, 999_000_000, time.UTC)}}
	if err := insert(millis); err != nil {
		t.Fatal(err)
	}
	got := column(t, conn, "SELECT concat(if(length(s) > 9, hex(MD5(s)), s), '|', low, '|', toString(kind), '|', hex(hash), '|', toString(u8), '|', toString(u32), '|', toString(u64), '|', toString(id), '|', toString(at), '|', toString(ms)) FROM typed ORDER BY u64")
	want := []string{
		"|x|b|00000000000000000000000000000000|0|0|0|00000000-0000-0000-0000-000000000000|1970-01-01 00:00:00|1900-01-01 00:00:00.000",
		fmt.Sprintf("%X|\n\t|a|30313233343536373839616263646566|255|4294967295|18446744073709551615|00112233-4455-6677-8899-aabbccddeeff|2106-02-07 06:28:15|2299-12-31 23:59:59.999", md5.Sum([]byte(long))),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for want, bad := range map[string]warehouse.Column{
		"times cannot be sent as DateTime64(6)": {Name: "ms", Type: "DateTime64(6)", Values: []time.Time{{}, {}}},
		"type []float64, which cannot be sent":  {Name: "ms", Type: "Float64", Values: []float64{1, 2}},
		"code: 16":                              {Name: "nothing", Type: "UInt8", Values: []uint8{1, 2}},
	} {
		if err := insert(bad); err == nil || !strings.Contains(err.Error(), want) || warehouse.IsRetryable(err) {
			t.Errorf("got %v, want %s, not to be tried again", err, want)
		}
	}
}

func TestOpenWaitsForTheStore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // refuses from now on
	dir := warehousetest.Credentials(t, storetest.User, storetest.Password)
	opened := make(chan error, 1)
	go func() {
		conn, err := warehouse.Open(t.Context(), "http://"+address, dir)
		if err == nil {
			err = conn.Close()
		}
		opened <- err
	}()
	storetest.StartWarehouse(t, storewarehouse.Config{Listen: address})
	if err := <-opened; err != nil {
		t.Errorf("a store that came up while it was waited for: %v", err)
	}
}

func TestCredentialsAreReadAgain(t *testing.T) {
	url, user, password := storetest.Warehouse(t)
	dir := warehousetest.Credentials(t, user, password)
	conn, err := warehouse.Open(t.Context(), url, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	set := func(value string) {
		if err := os.WriteFile(filepath.Join(dir, "password"), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("wrong")
	if err := conn.Ping(t.Context()); err == nil || !warehouse.IsRetryable(err) {
		t.Errorf("a wrong password gave %v, want an error that passes by itself: the Secret may be rotating", err)
	}
	set(password)
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the right password again: %v", err)
	}
}

func TestRetryOverKill(t *testing.T) {
	w := storetest.StartWarehouse(t, storewarehouse.Config{})
	conn := warehousetest.Connect(t, w.URL, storetest.User, storetest.Password)
	w.Kill(t)
	err := conn.Ping(t.Context())
	started := make(chan struct{})
	go func() { defer close(started); time.Sleep(300 * time.Millisecond); w.Start(t) }()
	if err != nil && !warehouse.IsRetryable(err) {
		t.Errorf("a killed store gave %v, which is not of the kind that passes", err)
	}
	if err := warehouse.Retry(t.Context(), func() error { return conn.Ping(t.Context()) }); err != nil {
		t.Errorf("the store is back: %v", err)
	}
	<-started
	if err := conn.Exec(t.Context(), "SELECT no_such_function()"); err == nil || warehouse.IsRetryable(err) {
		t.Errorf("a wrong statement gave %v, want an error that does not pass", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := conn.Ping(ctx); warehouse.IsRetryable(err) {
		t.Errorf("a cancelled context gave %v, which must not be tried again", err)
	}
}
