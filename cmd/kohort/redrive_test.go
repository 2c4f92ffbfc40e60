package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kohort.dev/kohort/internal/engine"
	"kohort.dev/kohort/internal/quarantine"
)

func TestRedrive(t *testing.T) {
	groups := engine.QuarantineGroups{Groups: []quarantine.Group{
		{Source: "web", Stage: "plan", Reason: "PlanViolated", Rows: 700, Redrivable: 700}, {Source: "crm", Stage: "read", Reason: "InvalidCSV", Rows: 3},
	}}
	const table = `  SOURCE   STAGE   REASON         ROWS   REDRIVABLE
  web      plan    PlanViolated   700    700
  crm      read    InvalidCSV     3      0
Not to be let in: 3 rows that nobody could read. Correct the data, and run their Source again.
`
	for _, c := range []struct {
		why    string
		groups engine.QuarantineGroups
		pages  []engine.Redriven
		dryRun bool
		want   string
		fails  string
	}{
		{"nothing", engine.QuarantineGroups{}, nil, false, "Nothing is in quarantine that you ask for.\n", ""},
		{"a dry run sends nothing", groups, nil, true, table + "700 rows would be let in again (dry run).\n", ""},
		{"two pages", groups, []engine.Redriven{{Sent: 500, Next: "c1"}, {Sent: 200}}, false,
			table + "500 of about 700\nSent again: 700 rows. What is refused once more is back in a few seconds: kohort quarantine\n", ""},
		{"records that the mapping still refuses", groups, []engine.Redriven{{Sent: 400, Refused: 100, Example: "NotAnEvent: no", Next: "c1"}, {Sent: 199, Refused: 1, Example: "another"}}, false,
			table + "500 of about 700\nThe mapping still makes no event of 101 rows, which stay; the first: NotAnEvent: no\nSent again: 599 rows. What is refused once more is back in a few seconds: kohort quarantine\n", ""},
		{"an engine that goes away", groups, []engine.Redriven{{Sent: 500, Next: "c1"}}, false, table + "500 of about 700\n", "500 were sent"},
	} {
		t.Run(c.why, func(t *testing.T) {
			var cursors []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("reason") != "PlanViolated" {
					t.Errorf("the filter is lost: %s", r.URL)
				}
				if r.Method == http.MethodGet {
					_ = json.NewEncoder(w).Encode(c.groups)
					return
				}
				cursors = append(cursors, r.URL.Query().Get("cursor"))
				if len(cursors) > len(c.pages) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				_ = json.NewEncoder(w).Encode(c.pages[len(cursors)-1])
			}))
			defer server.Close()
			var out bytes.Buffer
			err := redrive(t.Context(), &out, endpoint{server.URL, "secret"}, quarantineFilter{reason: "PlanViolated"}, c.dryRun)
			if out.String() != c.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), c.want)
			}
			var next *hinted
			if c.fails == "" && err != nil || c.fails != "" && (!errors.As(err, &next) || !strings.Contains(next.next, c.fails)) {
				t.Errorf("error %v, want one with %q", err, c.fails)
			}
			if len(cursors) > 0 && cursors[0] != "" || len(cursors) > 1 && cursors[1] != "c1" {
				t.Errorf("cursors %q", cursors)
			}
		})
	}
}

func TestQuarantine(t *testing.T) {
	answer, err := json.Marshal(engine.QuarantineRows{Rows: []quarantine.Row{{
		Source: "web", Stage: "plan", Reason: "PlanViolated", Message: "/total: it must be number", Original: `{"event":"` + "\x1b" + `"}`, Received: noon,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := showQuarantine(&out, answer); err != nil {
		t.Fatal(err)
	}
	want := `  RECEIVED              SOURCE   STAGE   REASON         MESSAGE                     ORIGINAL
  2026-11-23 12:00:00   web      plan    PlanViolated   /total: it must be number   {"event":"·"}
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
