package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// A pull as its Job runs it: order in the environment, credentials in files, report and exit code.
func TestPullReportsAsItsJobNeedsIt(t *testing.T) {
	natsURL, user, password := storetest.Stream(t)
	streamCredentials := warehousetest.Credentials(t, user, password)
	warehouseURL, user, password := storetest.Warehouse(t)
	warehousetest.Connect(t, warehouseURL, user, password) // the engine's part: the schema
	warehouseCredentials := warehousetest.Credentials(t, user, password)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.csv"), []byte("id\nu1\nu2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const mapping = `"root.type = \"track\"\nroot.event = \"Seen\"\nroot.userId = this.id"`
	cases := []struct {
		why, order       string
		code             int
		result, reason   string
		published        int64
		inMessage, dsnIn string
	}{
		{"all is well", `{"source":"crm","party":"First","slot":"2026-11-23T06:00:00Z","mapping":` + mapping + `,"files":{"url":"file:///a.csv","format":"CSV","root":"` + root + `"}}`,
			run.ExitSucceeded, "Succeeded", "", 2, "", ""},
		{"a mapping that a person has to correct", `{"source":"crm","party":"First","mapping":"root = ","files":{"url":"file:///a.csv","format":"CSV","root":"` + root + `"}}`,
			run.ExitFatal, "Failed", "MappingInvalid", 0, "line 1", ""},
		{"a database that is away", `{"source":"crm","party":"First","mapping":` + mapping + `,"sql":{"driver":"postgres","query":"SELECT 1"}}`,
			run.ExitRetry, "Failed", "SourceUnreachable", 0, "refused", "postgres://kohort:secret@127.0.0.1:1/crm"},
		{"no order", ``, run.ExitFatal, "Failed", "RunFailed", 0, run.OrderVariable, ""},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			t.Setenv(run.OrderVariable, c.order)
			report, dsn := filepath.Join(t.TempDir(), "report"), filepath.Join(t.TempDir(), "dsn")
			if err := os.WriteFile(dsn, []byte(c.dsnIn), 0o600); err != nil {
				t.Fatal(err)
			}
			command := newPullCommand()
			command.SetArgs([]string{"--stream-url", natsURL, "--stream-credentials-dir", streamCredentials,
				"--warehouse-url", warehouseURL, "--warehouse-credentials-dir", warehouseCredentials, "--dsn-file", dsn, "--termination-log", report})
			code := run.ExitSucceeded
			if err := command.ExecuteContext(context.Background()); err != nil {
				code = exitCode(err)
			}
			text, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			got, err := run.Decode(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if code != c.code || got.Result != c.result || got.Reason != c.reason || got.Published != c.published ||
				!strings.Contains(got.Message, c.inMessage) || strings.Contains(got.Message, "secret") {
				t.Errorf("exit code %d with %+v; want %d, %s %s, %d published", code, got, c.code, c.result, c.reason, c.published)
			}
		})
	}
}
