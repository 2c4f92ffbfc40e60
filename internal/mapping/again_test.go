package mapping

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const customer = `root = if this.ok == "no" { throw("not ok") } else { {"type": "identify", "userId": this.id, "traits": {"n": this.n, "row": row(), "from": metadata("from")}} }`

// What is mapped again gives the event, with the id, that the record would have given at first.
func TestAgain(t *testing.T) {
	const corrected = `root = {"type": "identify", "userId": this.id, "traits": {"n": this.n, "row": row(), "from": metadata("from")}}`
	for _, c := range []struct {
		why, raw string
		record   Record
		want     string
	}{
		{"a line of JSON keeps its numbers", `{"ok":"no","id":"u1","n":9007199254740993}`, Record{Format: JSON, Origin: []string{"file", "crm", "a"}, Moment: "v1"}, `{"from":null,"n":9007199254740993,"row":7}`},
		{"a row of CSV", `no,u1,"a ""b"", c"`, Record{Format: CSV, Columns: []string{"ok", "id", "n"}}, `{"from":null,"n":"a \"b\", c","row":7}`},
		{"a form", `ok=no&id=u1&n=1&n=2`, Record{Format: Form, Numbered: true, Origin: []string{"webhook", "crm", "Webhook-Id", "d1"}}, `{"from":null,"n":"1","row":7}`},
		{"JSON that is called a form", `{"ok":"no","id":"u1","n":1}`, Record{Format: Form}, `{"from":null,"n":1,"row":7}`},
		{"what came beside it", `{"ok":"no","id":"u1","n":1}`, Record{Format: Text, Metadata: map[string]string{"from": "here"}}, `{"from":"here","n":1,"row":7}`},
	} {
		t.Run(c.why, func(t *testing.T) {
			c.record.Number = 7
			kept, err := json.Marshal(c.record)
			if err != nil {
				t.Fatal(err)
			}
			var fault *Fault
			if list, err := compiled(t, customer).Again(string(kept), c.raw); !errors.As(err, &fault) || fault.Reason != MappingFailed {
				t.Fatalf("the mapping of before gives %s, %v", list, err)
			}
			value, fault := c.record.Value(c.raw)
			if fault != nil {
				t.Fatal(fault)
			}
			first := ""
			m := compiled(t, corrected)
			if fault, err := m.Events(c.record, c.raw, value, func(_ int, event []byte, fault *Fault) error {
				first += string(event)
				if fault != nil {
					return fault
				}
				return nil
			}); fault != nil || err != nil {
				t.Fatal(fault, err)
			}
			again, err := m.Again(string(kept), c.raw)
			if err != nil || string(again) != "["+first+"]" {
				t.Errorf("mapped again it is %s, %v; at first %s", again, err, first)
			}
			var events []struct{ Traits json.RawMessage }
			if err := json.Unmarshal(again, &events); err != nil || len(events) != 1 || string(events[0].Traits) != c.want {
				t.Errorf("%v, %v, want traits %s", events, err, c.want)
			}
		})
	}
}

// Of a record with several events those come again that were refused, and no other.
func TestAgainTakesWhatWasRefused(t *testing.T) {
	m := compiled(t, `root = this.map_each({"type": "track", "event": "Seen", "userId": this})`)
	again := func(record, raw string) string {
		t.Helper()
		list, err := m.Again(record, raw)
		if err != nil {
			return err.Error()
		}
		var events []struct{ UserID string }
		if err := json.Unmarshal(list, &events); err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		names := ""
		for _, e := range events {
			names += e.UserID
		}
		return names
	}
	for _, c := range []struct{ why, record, raw, want string }{
		{"all", `{"format":"json"}`, `["a","b","c"]`, "abc"},
		{"one", `{"format":"json","refused":[1]}`, `["a","b","c"]`, "b"},
		{"one that there is no more", `{"format":"json","refused":[5]}`, `["a"]`, ""},
		{"none", `{"format":"json"}`, `[]`, ""},
		{"one that is refused still", `{"format":"json","refused":[1]}`, `["a",""]`, "NoIdentifier: event 1 of the record: the event says nothing about whose it is; set userId, anonymousId, context.externalIds, or a trait that identifies such as traits.email"},
		{"one that was taken may be refused now", `{"format":"json","refused":[0]}`, `["a",""]`, "a"},
		{"more than one message takes", `{"format":"json"}`, "[" + strings.Repeat(`"`+strings.Repeat("u", 400)+`",`, 2500) + `"u"]`, "RecordTooLarge: its events have more than 1048576 bytes; run the Source again"},
		{"what was kept is broken", `{`, `["a"]`, "MappingFailed: what was kept of the record cannot be read (unexpected end of JSON input); run the Source again"},
		{"the text is broken", `{"format":"json"}`, `[`, "InvalidJSON: the record is not JSON: unexpected EOF"},
	} {
		if got := again(c.record, c.raw); got != c.want {
			t.Errorf("%s: got %q, want %q", c.why, got, c.want)
		}
	}
}

func compiled(t *testing.T, text string) *Mapping {
	t.Helper()
	m, err := Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
