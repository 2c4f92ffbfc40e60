package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/store/prune"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
)

// removeNewestPart deletes the newest part of a partition.
func removeNewestPart(t *testing.T, dir, partition string) {
	t.Helper()
	var newest prune.Part
	var at string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if part, ok := prune.ParsePart(d.Name()); ok && part.Partition == partition && part.Max > newest.Max {
			newest, at = part, path
		}
		return nil
	})
	if err != nil || at == "" {
		t.Fatalf("finding a part of partition %s: %q and error %v", partition, at, err)
	}
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestReadyMeansAWrite(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{})
	conn := open(t, p.URL)
	if status, text := get(t, p.Health+"/ready"); status != 200 {
		t.Fatalf("ready answers %d: %s", status, text)
	}
	for range 50 {
		get(t, p.Health+"/ready")
	}
	rows := count(t, conn, "SELECT count() FROM kohort_store.health")
	if rows < 1 || rows > 10 {
		t.Errorf("51 questions made %d writes, want at least one and at most one a second", rows)
	}
	exec(t, conn, "DROP TABLE kohort_store.health")
	time.Sleep(1100 * time.Millisecond)
	if status, text := get(t, p.Health+"/ready"); status != 503 || !strings.Contains(text, "kohort_store.health") {
		t.Errorf("a store that cannot write answers %d: %s", status, text)
	}
	if status, _ := get(t, p.Health+"/ping"); status != 200 {
		t.Errorf("a store that cannot write but runs answers ping with %d", status)
	}
}

func TestMetrics(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{})
	conn := open(t, p.URL)
	exec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	exec(t, conn, "INSERT INTO t SELECT number FROM numbers(1000)")
	status, text := get(t, p.Health+"/metrics")
	if status != 200 {
		t.Fatalf("metrics answer %d: %s", status, text)
	}
	for _, line := range []string{
		"kohort_warehouse_written_rows_total 1000\n", `kohort_warehouse_requests_total{code="0",kind="insert"} 1` + "\n",
		"kohort_warehouse_disk_free_bytes ", "ClickHouseProfileEvents_InsertedRows ", "ClickHouseMetrics_MemoryTracking ", "go_goroutines ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %q", line)
		}
	}
}

func TestBackupAndRestore(t *testing.T) {
	backups := t.TempDir()
	p := storetest.StartWarehouse(t, warehouse.Config{Backups: backups})
	conn := open(t, p.URL)
	exec(t, conn, "CREATE DATABASE d")
	exec(t, conn, "CREATE TABLE d.t (a UInt64) ENGINE = MergeTree ORDER BY a")
	exec(t, conn, "INSERT INTO d.t SELECT number FROM numbers(1000)")
	exec(t, conn, "BACKUP DATABASE d TO File('monday')")
	if _, err := os.Stat(filepath.Join(backups, "monday")); err != nil {
		t.Errorf("the backup is not where it should be: %v", err)
	}
	exec(t, conn, "DROP DATABASE d")
	exec(t, conn, "RESTORE DATABASE d FROM File('monday')")
	if got := count(t, conn, "SELECT sum(a) FROM d.t"); got != 499500 {
		t.Errorf("the restored rows sum up to %d, want 499500", got)
	}
	if err := conn.Exec(t.Context(), "BACKUP DATABASE d TO File('/tmp/kohort-elsewhere')"); err == nil {
		t.Error("a backup to another directory was not refused")
	}
}

// A stop lets a running insert end, and what it acknowledged is there after
// the next start.
func TestStopIsGraceful(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{})
	conn := open(t, p.URL)
	exec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	done := make(chan error, 1)
	go func() {
		done <- conn.Exec(context.Background(), "INSERT INTO t SELECT number + sleepEachRow(0.01) FROM numbers(60) SETTINGS max_block_size = 10")
	}()
	for count(t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'") == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	p.Stop(t)
	if err := <-done; err != nil {
		t.Errorf("an insert that ran when the store was told to stop: %v", err)
	}
	p.Start(t)
	if got := count(t, conn, "SELECT count() FROM t"); got != 60 {
		t.Errorf("%d rows are stored, want 60", got)
	}
}

// A statement that does not end is killed when the drain time is over.
func TestStopDoesNotWaitForEver(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{Drain: 300 * time.Millisecond})
	conn := open(t, p.URL)
	done := make(chan error, 1)
	go func() {
		done <- conn.Exec(context.Background(), "SELECT count() FROM numbers_mt(1000000000000) WHERE cityHash64(number) = 1")
	}()
	for count(t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%cityHash64%' AND query NOT LIKE '%processes%'") == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	begun := time.Now()
	p.Stop(t)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if err := <-done; err == nil {
		t.Error("a query that was killed returned no error")
	}
}

// Two processes on one directory would prune and write each other's files.
func TestDirectoryIsTakenOnce(t *testing.T) {
	dir := t.TempDir()
	storetest.StartWarehouse(t, warehouse.Config{Path: dir})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it waits for the first one to end
	defer cancel()
	_, err := warehouse.Open(ctx, warehouse.Config{Path: dir, Library: storetest.Library(t)}, nil)
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second warehouse on the directory gave %v, want an error that says why", err)
	}
}

func TestInsertsAreRefusedUnderTheFloor(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{MinFree: 1 << 62})
	conn := open(t, p.URL)
	exec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	for _, sql := range []string{"INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "INSERT INTO t FORMAT CSV 1\n"} {
		isFull(t, conn.Exec(t.Context(), sql))
	}
	for _, sql := range []string{"SELECT count() FROM t", "ALTER TABLE t DELETE WHERE a = 1", "TRUNCATE TABLE t", "DROP TABLE t"} {
		exec(t, conn, sql) // what frees space goes on
	}
	if status, text := get(t, p.Health+"/ready"); status != 503 || !strings.Contains(text, "is full") {
		t.Errorf("ready answers %d: %s", status, text)
	}
}

// A refusal must reach a client that is still sending: closing the connection
// under it would turn the reason into "broken pipe".
func TestRefusalReachesALargeBatch(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{MinFree: 1 << 62})
	conn := open(t, p.URL)
	exec(t, conn, "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
	text := strings.Repeat("x", 10_000)
	for range 5 {
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t")
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 { // 30 MB
			if err := batch.Append(text); err != nil {
				t.Fatal(err)
			}
		}
		isFull(t, batch.Send())
	}
}

// isFull fails the test unless err is what a client gets from a full store.
func isFull(t *testing.T, err error) {
	t.Helper()
	var ex *clickhouse.Exception
	var status *clickhouse.HTTPError
	if !errors.As(err, &ex) || !errors.As(err, &status) {
		t.Fatalf("a full disk gave %v, which is no exception of ClickHouse", err)
	}
	if status.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("a full disk gave status %d and %v, want 507", status.StatusCode, err)
	}
}

// waitReady waits for an answer, which may be one second old.
func waitReady(t *testing.T, p *storetest.Process, want int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		status, text := get(t, p.Health+"/ready")
		if status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("ready answers %d for 5 s, want %d: %s", status, want, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// volume is a file system of its own, which the test can fill. Mounting needs
// root; the floor is tested without.
func volume(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("mounting a small volume, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// With and without a floor: nothing acknowledged is lost when the disk fills,
// and the store takes rows again by itself once there is room.
func TestDiskFull(t *testing.T) {
	for name, floor := range map[string]uint64{"floor": 40 << 20, "no space left": 1} {
		t.Run(name, func(t *testing.T) {
			dir := volume(t, 160)
			p := storetest.StartWarehouse(t, warehouse.Config{Path: dir, MinFree: floor, MaxMemory: 1 << 30})
			conn := open(t, p.URL)
			exec(t, conn, "CREATE TABLE keep (a UInt64, b String CODEC(NONE)) ENGINE = MergeTree ORDER BY a")
			exec(t, conn, "CREATE TABLE waste (a UInt64, b String CODEC(NONE)) ENGINE = MergeTree ORDER BY a")
			exec(t, conn, "INSERT INTO waste SELECT number, randomPrintableASCII(1000) FROM numbers(40000)")
			var stored uint64
			var err error
			for stored < 1_000_000 {
				if err = conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO keep SELECT number + %d, randomPrintableASCII(1000) FROM numbers(2000)", stored)); err != nil {
					break
				}
				stored += 2000
			}
			isFull(t, err)
			t.Logf("%d rows were acknowledged before: %v", stored, err)
			if floor > 1 { // without a floor a row of the probe may still fit
				waitReady(t, p, 503)
			}
			if got := count(t, conn, "SELECT uniqExact(a) FROM keep"); got < stored {
				t.Errorf("%d rows are stored, %d were acknowledged", got, stored)
			}
			exec(t, conn, "DROP TABLE waste SYNC")
			deadline := time.Now().Add(15 * time.Second)
			for {
				if err = conn.Exec(t.Context(), "INSERT INTO keep SELECT 9000000, 'again'"); err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("with room again the store still refuses: %v", err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			waitReady(t, p, 200)
			p.Kill(t)
			p.Start(t)
			if got := count(t, conn, "SELECT uniqExact(a) FROM keep WHERE a < 9000000"); got < stored {
				t.Errorf("after a kill %d rows are stored, %d were acknowledged", got, stored)
			}
		})
	}
}
