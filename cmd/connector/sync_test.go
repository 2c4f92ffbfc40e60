package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// commandEnv tells this test binary to be the connector, with its own arguments.
const commandEnv = "KOHORT_CONNECTOR_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(execute())
	}
	os.Exit(m.Run())
}

// connector runs the command line as a container does; it gives the exit code, the report and what was logged.
func connector(t *testing.T, order any, args ...string) (int, run.Report, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	termination := filepath.Join(t.TempDir(), "termination-log")
	cmd := exec.Command(self, append(args, "--termination-log", termination)...)
	cmd.Env = append(os.Environ(), commandEnv+"=1")
	if order != nil {
		text, err := json.Marshal(order)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, run.OrderVariable+"="+string(text))
	}
	log, _ := cmd.CombinedOutput() // the exit code is what is asked for
	written, err := os.ReadFile(termination)
	if err != nil {
		return cmd.ProcessState.ExitCode(), run.Report{}, string(log)
	}
	report, err := run.Decode(string(written))
	if err != nil {
		t.Fatalf("report %q: %v", written, err)
	}
	return cmd.ProcessState.ExitCode(), report, string(log)
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// members writes three customers and puts them into an audience, as the engine does.
func members(t *testing.T, conn driver.Conn, audience string) {
	t.Helper()
	for _, statement := range []string{
		"INSERT INTO profiles SELECT number, generateUUIDv4(), 0, now64(3), 1 FROM numbers(1, 3)",
		"INSERT INTO profile_identifiers SELECT number, 'email', concat('p', toString(number), '@example.com'), now64(3), 1 FROM numbers(1, 3)",
		"INSERT INTO traits SELECT number, 'plan', '\"pro\"', 'web', 'First', now64(3), 1 FROM numbers(1, 3)",
		"INSERT INTO memberships SELECT '" + audience + "', number, now64(3), 1, 0 FROM numbers(1, 3)",
		"INSERT INTO audience_revisions SELECT '" + audience + "', 7, '', 3, now64(3)",
	} {
		if err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSyncCommand(t *testing.T) {
	url, user, password := storetest.Warehouse(t)
	credentials := warehousetest.Credentials(t, user, password)
	members(t, warehousetest.Connect(t, url, user, password), "vip")
	server := pgtest.Start(t)
	dsn := server.Database("crm")
	order := run.SyncOrder{
		Platform: "shop", Sync: "vip-crm", Audience: "vip", Destination: "crm", Mode: "Mirror", Slot: time.Unix(1795437000, 0).UTC(),
		Traits: map[string]string{"tariff": "plan"}, Table: &run.Table{Driver: "postgres", Name: "members"},
	}
	args := []string{"sync", "--warehouse-url", url, "--warehouse-credentials-dir", credentials, "--dsn-file"}

	code, report, log := connector(t, order, append(args, secretFile(t, dsn))...)
	if code != run.ExitSucceeded || report.Result != "Succeeded" || report.Added != 3 || report.Members != 3 || report.Revision != 7 {
		t.Fatalf("exit code %d, report %+v\n%s", code, report, log)
	}
	if strings.Contains(log, "example.com") || strings.Contains(log, password) {
		t.Errorf("the log shows personal data or a credential:\n%s", log)
	}
	code, report, log = connector(t, order, append(args, secretFile(t, dsn))...)
	if code != run.ExitSucceeded || report.Added+report.Updated+report.Removed != 0 || report.Members != 3 {
		t.Errorf("a second run: exit code %d, report %+v\n%s", code, report, log)
	}
	order.Drain = true
	if code, report, log = connector(t, order, append(args, secretFile(t, dsn))...); code != 0 || report.Removed != 3 || report.Members != 0 {
		t.Errorf("a drain: exit code %d, report %+v\n%s", code, report, log)
	}
	order.Drain = false

	for _, c := range []struct {
		why, reason string
		code        int
		change      func(*run.SyncOrder)
		dsn         string
	}{
		{"a missing Secret needs a person", "SecretNotFound", run.ExitFatal, func(*run.SyncOrder) {}, filepath.Join(t.TempDir(), "none")},
		{"so does a refused login", "DestinationUnreachable", run.ExitFatal, func(*run.SyncOrder) {}, secretFile(t, strings.Replace(dsn, "kohort@", "nobody@", 1))},
		{"an order for two destinations at once is none", "InvalidSpec", run.ExitFatal, func(o *run.SyncOrder) { o.Webhook = &run.Webhook{URL: "http://x"} }, secretFile(t, dsn)},
		{"a driver of a later release is not taken for postgres", "InvalidSpec", run.ExitFatal, func(o *run.SyncOrder) { o.Table = &run.Table{Driver: "oracle", Name: "m"} }, secretFile(t, dsn)},
	} {
		changed := order
		c.change(&changed)
		code, report, log := connector(t, changed, append(args, c.dsn)...)
		if code != c.code || report.Reason != c.reason || report.Result != "Failed" || report.Message == "" {
			t.Errorf("%s: exit code %d, report %+v\n%s", c.why, code, report, log)
		}
	}
	if code, report, _ := connector(t, nil, append(args, "x")...); code != run.ExitFatal || report.Reason != "RunFailed" {
		t.Errorf("no order: exit code %d, report %+v", code, report)
	}
	if code, _, log := connector(t, order, "sync"); code != run.ExitFatal || !strings.Contains(log, "warehouse-url") {
		t.Errorf("a missing flag: exit code %d\n%s", code, log)
	}
}
