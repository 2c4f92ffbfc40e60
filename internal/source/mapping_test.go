package source

import (
	"encoding/json"
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

// Whatever a person writes as a mapping, and whatever a record holds, ends as events or as a reason.
func FuzzMapping(f *testing.F) {
	record := []byte(`{"id":7,"email":"A@x.org","list":[1,null,"x"],"nested":{"a":{"b":1e300}},"text":"ü\u2028"}`)
	for _, text := range []string{
		`root.type = "identify"`, `root = this.without("id")`, `root.n = this.id.number() / 0`, `root = this.list.map_each(this.uppercase())`,
		`root = deleted()`, `root = [{"type":"track"}, this]`, `root.t = this.text.ts_parse("2006")`, "map m {\n  root = this.apply(\"m\")\n}\nroot = this.apply(\"m\")",
		`root.x = row().string() + this.email.re_replace_all("(a+)+$", "")`,
	} {
		f.Add(text, record)
	}
	f.Fuzz(func(t *testing.T, text string, record []byte) {
		var value any
		if json.Unmarshal(record, &value) != nil {
			value = string(record)
		}
		m, err := compileMapping(text)
		if err != nil {
			return
		}
		events, fault := m.apply(value, 1)
		if fault != nil && (len(events) > 0 || fault.reason == "" || fault.message == "") {
			t.Errorf("%d events beside the fault %+v", len(events), fault)
		}
	})
}
