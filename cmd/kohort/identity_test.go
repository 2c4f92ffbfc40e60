package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"kohort.dev/kohort/internal/engine"
)

func TestExplanation(t *testing.T) {
	for want, links := range map[string][]engine.Link{
		"These are one identifier.\n": {},
		`  IDENTIFIER      SEEN WITH               AT                    SOURCE   MESSAGE
  anonymousId:a   userId:42               2026-11-23 12:00:00   web      m1
  userId:42       email:ada@example.com   2026-11-23 12:00:00   crm      ·m2
`: {
			{From: "anonymousId:a", To: "userId:42", MessageID: "m1", Source: "web", Occurred: noon},
			{From: "userId:42", To: "email:ada@example.com", MessageID: "\x1bm2", Source: "crm", Occurred: noon},
		},
	} {
		answer, err := json.Marshal(engine.Explanation{Links: links})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showExplanation(&out, answer); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
	}
}
