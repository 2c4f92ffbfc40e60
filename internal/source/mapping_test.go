package source

import (
	"testing"
)

// TestRowNumbersRecords names what has no id of its own by where it stands; two equal records stay two.
func TestRowNumbersRecords(t *testing.T) {
	m, err := compileMapping(`root.userId = "line-" + row().string()`)
	if err != nil {
		t.Fatal(err)
	}
	for row, want := range map[int64]string{1: "line-1", 2: "line-2", 7043: "line-7043"} {
		events, fault := m.apply(map[string]any{"tenure": "1"}, row)
		if fault != nil || len(events) != 1 || events[0]["userId"] != want {
			t.Errorf("record %d became %v (%v), want %s", row, events, fault, want)
		}
	}
}
