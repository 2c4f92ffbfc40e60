package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// kept is a destination that can tell which members it holds.
type kept struct {
	kind  string
	order run.SyncOrder
	args  []string
	held  func(t *testing.T) int
}

// crowd writes many customers and puts them into an audience.
func crowd(t *testing.T, conn driver.Conn, audience string, size int) {
	t.Helper()
	for _, statement := range []string{
		"INSERT INTO profiles SELECT number, generateUUIDv4(), 0, now64(3), 1 FROM numbers(1, %[2]d)",
		"INSERT INTO profile_identifiers SELECT number, 'email', concat('p', toString(number), '@example.com'), now64(3), 1 FROM numbers(1, %[2]d)",
		"INSERT INTO memberships SELECT '%[1]s', number, now64(3), 1, 0 FROM numbers(1, %[2]d)",
		"INSERT INTO audience_revisions SELECT '%[1]s', 7, '', %[2]d, now64(3)",
	} {
		if err := conn.Exec(context.Background(), fmt.Sprintf(statement, audience, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// killed starts a run and kills it after a while, if it has not ended.
func killed(t *testing.T, order run.SyncOrder, after time.Duration, args ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append(args, "--termination-log", filepath.Join(t.TempDir(), "log"))...)
	cmd.Env = append(os.Environ(), commandEnv+"=1", run.OrderVariable+"="+string(text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // it was killed
}

// However often runs are killed, a destination ends up with each member once, and with none when they are taken out.
func TestKilledRunsConverge(t *testing.T) {
	const size, kills = 6000, 3
	url, user, password := storetest.Warehouse(t)
	crowd(t, warehousetest.Connect(t, url, user, password), "vip", size)
	for _, k := range keepers(t) {
		t.Run(k.kind, func(t *testing.T) {
			order := k.order
			order.Platform, order.Sync, order.Audience, order.Destination, order.Mode = "shop", "vip-"+k.kind, "vip", k.kind, "Mirror"
			order.Slot = time.Unix(1795437000, 0).UTC()
			args := append([]string{"sync", "--warehouse-url", url, "--warehouse-credentials-dir", warehousetest.Credentials(t, user, password)}, k.args...)
			for _, step := range []struct {
				why   string
				drain bool
				held  int
			}{{"everybody enters", false, size}, {"everybody leaves", true, 0}} {
				order.Drain = step.drain
				for range kills {
					killed(t, order, 300*time.Millisecond+rand.N(time.Second), args...)
				}
				if code, report, log := connector(t, order, args...); code != run.ExitSucceeded || report.Members != int64(step.held) {
					t.Fatalf("%s: exit code %d, report %+v\n%s", step.why, code, report, log)
				}
				if held := k.held(t); held != step.held {
					t.Fatalf("%s: %d members are held, want %d", step.why, held, step.held)
				}
			}
		})
	}
}
