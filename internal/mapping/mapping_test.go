package mapping

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRowNumbersRecords names what has no id of its own by where it stands; two equal records stay two.
func TestRowNumbersRecords(t *testing.T) {
	m, err := Compile(`root.userId = "line-" + row().string()`)
	if err != nil {
		t.Fatal(err)
	}
	for row, want := range map[int64]string{1: "line-1", 2: "line-2", 7043: "line-7043"} {
		events, fault := m.apply(Record{Number: row}, map[string]any{"tenure": "1"})
		if fault != nil || len(events) != 1 || events[0]["userId"] != want {
			t.Errorf("record %d became %v (%v), want %s", row, events, fault, want)
		}
	}
}

// A record cannot make a mapping take any memory.
func TestMappingIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		`root.a = "ab".repeat(3)`: `{"a":"ababab"}`, `root.a = "ab".repeat(0)`: `{"a":""}`, `root.a = "".repeat(this.n)`: `{"a":""}`,
		`root.a = range(0, 5, 2)`: `{"a":[0,2]}`, `root.a = range(start: 3, stop: 0, step: -1)`: `{"a":[3,2,1]}`, `root.a = range(1, 4)`: `{"a":[1,2,3]}`,
		`root.a = "ab".repeat(this.n)`: "repeat gives at most", `root.a = range(0, this.n)`: "range gives at most", `root.a = range(-this.n, this.n)`: "range gives at most",
		`root.a = "x".repeat(-this.n)`: "not negative", `root.a = range(0, 0)`: "no way", `root.a = range(0, 5, 0)`: "step must not be 0", `root.a = this.repeat(2)`: "expected",
	} {
		m, err := Compile(text)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
			continue
		}
		events, fault := m.apply(Record{Number: 1}, map[string]any{"n": int64(1) << 62})
		got := ""
		if fault != nil {
			got = fault.Message
		} else if encoded, err := json.Marshal(events[0]); err == nil {
			got = string(encoded)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Whatever a person writes as a mapping, and whatever a record holds, ends as events or as a reason.
func FuzzMapping(f *testing.F) {
	record := []byte(`{"id":7,"email":"A@x.org","list":[1,null,"x"],"nested":{"a":{"b":1e300}},"text":"ü\u2028"}`)
	for _, text := range []string{
		`root.type = "identify"`, `root = this.without("id")`, `root.n = this.id.number() / 0`, `root = this.list.map_each(this.uppercase())`,
		`root = deleted()`, `root = [{"type":"track"}, this]`, `root.t = this.text.ts_parse("2006")`, "map m {\n  root = this.apply(\"m\")\n}\nroot = this.apply(\"m\")",
		`root.x = "ab".repeat(this.id)`, `root.x = range(0, this.id)`, `root.x = "x".repeat(this.nested.a.b)`,
		`root.x = row().string() + this.email.re_replace_all("(a+)+$", "")`,
	} {
		f.Add(text, record)
	}
	f.Fuzz(func(t *testing.T, text string, record []byte) {
		var value any
		if json.Unmarshal(record, &value) != nil {
			value = string(record)
		}
		m, err := Compile(text)
		if err != nil {
			return
		}
		events, fault := m.apply(Record{Number: 1}, value)
		if fault != nil && (len(events) > 0 || fault.Reason == "" || fault.Message == "") {
			t.Errorf("%d events beside the fault %+v", len(events), fault)
		}
	})
}

func BenchmarkMapping(b *testing.B) {
	m, err := Compile(`root.type = "identify"
root.userId = this.id
root.traits.email = this.email.lowercase()
root.traits.visits = this.visits.number()`)
	if err != nil {
		b.Fatal(err)
	}
	row := map[string]any{"id": "u1", "email": "a@example.com", "visits": "3"}
	for b.Loop() {
		fault, err := m.Events(Record{Number: 1, Origin: []string{"file"}}, "u1,a@example.com,3", row, func(_ int, _ []byte, fault *Fault) error {
			if fault != nil {
				return fault
			}
			return nil
		})
		if err != nil || fault != nil {
			b.Fatal(err, fault)
		}
	}
}
