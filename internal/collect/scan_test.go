package collect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

func TestScanTellsTheShape(t *testing.T) {
	cases := []struct {
		why, body string
		want      shape
	}{
		{"the body of /v1/batch as SDKs write it", `{"batch":[{"type":"track"},{"type":"page"}],"writeKey":"k","sentAt":"x"}`, shape{object: true, batch: true, items: 2, writeKey: "k"}},
		{"white space is allowed between all tokens", " { \"batch\" : [ 1 , [ 2 , 3 ] , { } ] , \"a\" : null } \n", shape{object: true, batch: true, items: 3}},
		{"a field of an inner object is not the body's", `{"context":{"batch":[1],"writeKey":"inner"},"list":[{"batch":[1]}]}`, shape{object: true}},
		{"a batch that is not a list does not count as one", `{"batch":{"a":1}}`, shape{object: true}},
		{"an empty batch is a batch", `{"batch":[]}`, shape{object: true, batch: true}},
		{"names and texts may be written with escapes", `{"b\u0061tch":[1],"writeKey":"a\u0062\""}`, shape{object: true, batch: true, items: 1, writeKey: `ab"`}},
		{"a write key that is not a text is none", `{"writeKey":12}`, shape{object: true}},
		{"a list is JSON but not an object", `[1,2]`, shape{}},
		{"every form of number", `{"a":[0,-0,1.5,-1.5e+10,1E5,12345678901234567890]}`, shape{object: true}},
		{"a text longer than a word, with a quote at each place in it", `{"a":"0123456\"","b":"01234567\"","c":"012345678\"é世界"}`, shape{object: true}},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			got, err := scan([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(shape{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanSaysWhereABodyIsNotJSON(t *testing.T) {
	cases := []struct{ why, body, want string }{
		{"an empty body", ``, "unexpected end at byte 0"},
		{"a body that was cut off", `{"batch":[{"a":"b`, "unexpected end at byte 17"},
		{"a form instead of JSON", `data=e30`, "expected a value at byte 0"},
		{"two values", `{} {}`, "unexpected text after the JSON value at byte 3"},
		{"a missing comma", `{"a":1 "b":2}`, "expected ',' or '}' after a field at byte 7"},
		{"a comma too many", `[1,]`, "expected a value at byte 3"},
		{"a comma too many in an object", `{"a":1,}`, "expected a field name in quotes at byte 7"},
		{"a line break in a text", "{\"a\":\"x\ny\"}", "control character in a string at byte 7"},
		{"an unknown escape", `{"a":"\x41"}`, "unknown escape in a string at byte 7"},
		{"a code point of three digits", `{"a":"\u12g4"}`, "expected four hexadecimal digits at byte 10"},
		{"a number that starts with zero", `{"a":01}`, "expected ',' or '}' after a field at byte 6"},
		{"a number that ends with a point", `{"a":1.}`, "expected a digit at byte 7"},
		{"NaN, which JavaScript never writes and Python does", `{"a":NaN}`, "expected a value at byte 5"},
		{"two batches, of which readers take either", `{"batch":[1],"batch":[2]}`, `second field "batch" at byte 21`},
		{"brackets without end", strings.Repeat("[", 100_000), "nesting deeper than 512 at byte 512"},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			_, err := scan([]byte(c.body))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// The standard library's and gjson's ideas of what is JSON, and of what stands in it, are the reference.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"type":"track","event":"A","properties":{"x":1.5e3,"y":[true,false,null]}}],"writeKey":"k\u00e9"}`,
		`{"a":"\ud800","b":"0123456789"}`, ` [ ] `, `{"batch":1,"batch":[]}`, `-0.0e-1`, `"\\\""`, "{\"a\u0000\":1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := scan(body)
		valid := json.Valid(body)
		if err != nil && valid {
			if message := err.Error(); !strings.Contains(message, `second field "batch"`) && !strings.Contains(message, "nesting deeper") {
				t.Fatalf("refused valid JSON %q: %v", body, err)
			}
			return
		}
		if err == nil && !valid {
			t.Fatalf("accepted %q, which is not JSON", body)
		}
		if err != nil {
			return
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
			if got.object && err == nil {
				t.Fatalf("%q is no object", body)
			}
			return
		}
		if !got.object {
			t.Fatalf("%q is an object", body)
		}
		var items []json.RawMessage
		if got.batch && strings.Count(string(body), "atch") == 1 && json.Unmarshal(fields["batch"], &items) == nil && len(items) != got.items {
			t.Fatalf("%q has %d items, counted %d", body, len(items), got.items)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	body := batchBody(20, 0)
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if s, err := scan(body); err != nil || s.items != 20 {
				b.Fatal(s, err)
			}
		}
	})
	b.Run("gjson", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if !gjson.ValidBytes(body) || len(gjson.GetBytes(body, "batch").Array()) != 20 {
				b.Fatal("not valid")
			}
		}
	})
}
