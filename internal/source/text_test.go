package source

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/mapping"
)

// outcome is a record in short: its value as JSON, or the reason of its fault.
func outcome(r record) string {
	if r.fault != nil {
		return r.fault.Reason
	}
	text, err := json.Marshal(r.value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func outcomes(t *testing.T, read func(context.Context, io.Reader, taker) error, in io.Reader) []string {
	t.Helper()
	var got []string
	if err := read(t.Context(), in, func(_ context.Context, r record) error {
		got = append(got, fmt.Sprintf("%d %s", r.Number, outcome(r)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCSV(t *testing.T) {
	huge := strings.Repeat("x", maxRecord+100)
	cases := []struct {
		why, file string
		want      []string
	}{
		{"values are texts, whatever they look like", "id,n\n01,1.50\n", []string{`1 {"id":"01","n":"1.50"}`}},
		{"quotes hold commas, quotes and line breaks", "a,b\n\"1,2\",\"x\"\"y\nz\"\n", []string{"1 {\"a\":\"1,2\",\"b\":\"x\\\"y\\nz\"}"}},
		{"lines may end as Windows ends them", "a,b\r\n1,2\r\n\"3\",\"4\"\r\n", []string{`1 {"a":"1","b":"2"}`, `2 {"a":"3","b":"4"}`}},
		{"the last line needs no end", "a,b\n1,2", []string{`1 {"a":"1","b":"2"}`}},
		{"empty lines are no rows", "\na,b\n\n1,2\n\n", []string{`1 {"a":"1","b":"2"}`}},
		{"a byte order mark is not part of the first name", "\xef\xbb\xbfa,b\n1,2\n", []string{`1 {"a":"1","b":"2"}`}},
		{"empty values stay", "a,b,c\n,,\n\"\",2,\n", []string{`1 {"a":"","b":"","c":""}`, `2 {"a":"","b":"2","c":""}`}},
		{"a row with too few or too many fields harms no other", "a,b\n1\n1,2,3\n4,5\n", []string{"1 InvalidCSV", "2 InvalidCSV", `3 {"a":"4","b":"5"}`}},
		{"a quote inside of a field that is not quoted is a quote", "a,b\n5\" disk,x\n1,2\n", []string{`1 {"a":"5\" disk","b":"x"}`, `2 {"a":"1","b":"2"}`}},
		{"text behind a closing quote spoils its line only", "a,b\n\"1\"x,2\n3,4\n", []string{"1 InvalidCSV", `2 {"a":"3","b":"4"}`}},
		{"a quote that is never closed spoils its line only", "a,b\n\"1,2\n3,4\n5,6\n", []string{"1 InvalidCSV", `2 {"a":"3","b":"4"}`, `3 {"a":"5","b":"6"}`}},
		{"nor does it when the file is longer than a record", "a,b\n\"1,2\n" + strings.Repeat("3,4\n", maxRecord/4+1), append([]string{"1 InvalidCSV"}, repeated(2, maxRecord/4+1, `{"a":"3","b":"4"}`)...)},
		{"a row longer than a record may be", "a,b\n" + huge + ",2\n3,4\n", []string{"1 RecordTooLarge", `2 {"a":"3","b":"4"}`}},
		{"a quoted value longer than a record may be", "a,b\n\"" + huge + "\",2\n3,4\n", []string{"1 RecordTooLarge", `2 {"a":"3","b":"4"}`}},
		{"Latin-1 is refused, not guessed", "a,b\nM\xfcller,2\n3,4\n", []string{"1 InvalidEncoding", `2 {"a":"3","b":"4"}`}},
		{"a file with a header only has no rows", "a,b\n", nil},
		{"an empty file has no rows", "", nil},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			if diff := cmp.Diff(c.want, outcomes(t, readCSV, strings.NewReader(c.file))); diff != "" {
				t.Errorf("(-want +got):\n%.2000s", diff)
			}
			if len(c.file) < 1000 {
				if diff := cmp.Diff(c.want, outcomes(t, readCSV, iotest.OneByteReader(strings.NewReader(c.file)))); diff != "" {
					t.Errorf("when bytes come one by one (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func repeated(from, times int, text string) []string {
	out := make([]string, times)
	for i := range out {
		out[i] = fmt.Sprintf("%d %s", from+i, text)
	}
	return out
}

func TestCSVThatIsNoTableIsRefusedAsAWhole(t *testing.T) {
	for why, file := range map[string]string{
		"twice":  "a,b,a\n1,2,3\n",
		"UTF-16": "\xff\xfea\x00,\x00",
		"UTF-8;": "M\xfcller,b\n",
		"closed": "\"a,b\n",
	} {
		err := readCSV(t.Context(), strings.NewReader(file), func(context.Context, record) error { return nil })
		if !isStructure(err) || !strings.Contains(err.Error(), strings.TrimSuffix(why, ";")) {
			t.Errorf("got %v, want one that says %q", err, why)
		}
	}
}

func TestJSONL(t *testing.T) {
	cases := []struct {
		why, file string
		want      []string
	}{
		{"numbers keep their digits", "{\"id\":9007199254740993,\"m\":1.10}\n", []string{`1 {"id":9007199254740993,"m":1.10}`}},
		{"empty lines are passed over and still count", "{\"a\":1}\r\n\n  \n[2]\n", []string{`1 {"a":1}`, `4 [2]`}},
		{"the last line needs no end", "{\"a\":1}\n{\"a\":2}", []string{`1 {"a":1}`, `2 {"a":2}`}},
		{"a line that is not JSON harms no other", "{\"a\":1}\n{oops\n{\"a\":3}\n", []string{`1 {"a":1}`, "2 InvalidJSON", `3 {"a":3}`}},
		{"nor one with two values", "{} {}\n{\"a\":2}\n", []string{"1 InvalidJSON", `2 {"a":2}`}},
		{"nor one that is too long", "\"" + strings.Repeat("x", 3*maxRecord) + "\"\n{\"a\":2}\n", []string{"1 RecordTooLarge", `2 {"a":2}`}},
		{"nor one in Latin-1", "{\"a\":\"M\xfcller\"}\n{\"a\":2}\n", []string{"1 InvalidEncoding", `2 {"a":2}`}},
		{"a byte order mark is passed over", "\xef\xbb\xbf{\"a\":1}\n", []string{`1 {"a":1}`}},
		{"an empty file has no records", "", nil},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			if diff := cmp.Diff(c.want, outcomes(t, readJSONL, strings.NewReader(c.file))); diff != "" {
				t.Errorf("(-want +got):\n%.2000s", diff)
			}
		})
	}
}

func TestAConnectionThatBreaksGivesNoHalfRecord(t *testing.T) {
	broken := errors.New("connection reset")
	for name, read := range map[string]func(context.Context, io.Reader, taker) error{"csv": readCSV, "jsonl": readJSONL} {
		in := io.MultiReader(strings.NewReader("1\n2\n345"), iotest.ErrReader(broken)) // 1 is CSV's header
		var raws []string
		err := read(t.Context(), in, func(_ context.Context, r record) error { raws = append(raws, r.raw); return nil })
		if !errors.Is(err, broken) || len(raws) == 0 || raws[len(raws)-1] != "2" {
			t.Errorf("%s: got %v after %q, want the connection's error after 2", name, err, raws)
		}
	}
}

// What encoding/csv takes without a complaint must come out the same, and nothing must panic or be read twice.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,2\n\"x\"\"y\",\"\n\"\n"))
	f.Add([]byte("a,b\r\n\"1\"x,2\r\n\"open"))
	f.Add([]byte("a\n\"\"\n\n\"\r\n\"\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var got [][]string
		var header []string
		faults := 0
		w := newWindow(bytes.NewReader(file))
		if w.start() != nil {
			return
		}
		for !w.empty() {
			raw, fault := nextRow(w)
			switch {
			case fault != nil:
				faults++
			case raw == "":
			case header == nil:
				header = mapping.SplitCSV(raw)
			default:
				got = append(got, mapping.SplitCSV(raw))
			}
		}
		reference := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))))
		reference.FieldsPerRecord = -1
		rows, err := reference.ReadAll()
		if err != nil || bytes.Contains(file, []byte("\r")) { // a lone carriage return is read differently
			return
		}
		if faults > 0 {
			t.Fatalf("%q: %d faults where encoding/csv has none", file, faults)
		}
		if len(rows) > 0 {
			rows = rows[1:]
		}
		if len(rows) == 0 && len(got) == 0 {
			return
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatalf("%q (-encoding/csv +got):\n%s", file, diff)
		}
	})
}
