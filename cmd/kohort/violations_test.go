package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"kohort.dev/kohort/internal/engine"
)

func TestViolations(t *testing.T) {
	for want, list := range map[string][]engine.Violation{
		"No event broke a tracking plan in that time.\n": {},
		`  RECEIVED              SOURCE   EVENT             FIELD    RULE        COUNT   ACTION       MESSAGE                                 ONE OF THEM
  2026-11-23 12:00:00   web      Order Completed   /total   type        3       Quarantine   it must be number and is string         m1
  2026-11-23 12:00:00   web      ·Clicked                   unplanned   1       Drop         the event is not in the tracking plan   m2
`: {
			{Source: "web", Party: "First", Event: "Order Completed", Field: "/total", Rule: "type", Action: "Quarantine", Message: "it must be number and is string", Count: 3, MessageID: "m1", Received: noon},
			{Source: "web", Party: "First", Event: "\x1bClicked", Rule: "unplanned", Action: "Drop", Message: "the event is not in the tracking plan", Count: 1, MessageID: "m2", Received: noon},
		},
	} {
		answer, err := json.Marshal(engine.Violations{Violations: list})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showViolations(&out, answer); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
	}
}
