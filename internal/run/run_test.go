package run

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestReportFitsTheTerminationMessage(t *testing.T) {
	long := strings.Repeat("übel ", 4000)
	rejections := make([]Rejection, 10)
	for i := range rejections {
		rejections[i] = Rejection{Reason: fmt.Sprintf("Reason%d", i), Count: int64(100 - i), Example: strings.Repeat("x", 500)}
	}
	for name, tc := range map[string]struct {
		why    string
		report Report
		want   func(Report) error
	}{
		"small": {
			why:    "a report that fits is not touched",
			report: Report{Result: "Failed", Reason: "RunFailed", Message: "no route to host", Rejections: []Rejection{{Reason: "A", Count: 1, Example: "row 7"}}},
			want: func(got Report) error {
				if got.Message != "no route to host" || got.Rejections[0].Example != "row 7" {
					return errors.New("the report changed")
				}
				return nil
			},
		},
		"many examples": {
			why:    "counts matter more than examples, and the message is whole",
			report: Report{Result: "Succeeded", Message: "done", Rejections: rejections},
			want: func(got Report) error {
				if len(got.Rejections) != 10 || got.Rejections[0].Example != "" || got.Message != "done" {
					return errors.New("want ten counts without examples, and the message")
				}
				return nil
			},
		},
		"long message": {
			why:    "a cut message is still text, and says that it was cut",
			report: Report{Result: "Failed", Message: long, Rejections: rejections},
			want: func(got Report) error {
				if !strings.HasSuffix(got.Message, "…") || len(got.Message) < 2000 {
					return fmt.Errorf("message has %d bytes", len(got.Message))
				}
				return nil
			},
		},
		"escaped message": {
			why:    "each byte may take six in JSON",
			report: Report{Result: "Failed", Message: strings.Repeat("\x01", 5000)},
			want:   func(Report) error { return nil },
		},
		"long reasons": {
			why:    "whatever a caller puts in, the kubelet must not cut the JSON",
			report: Report{Result: "Failed", Rejections: []Rejection{{Reason: long, Count: 1}}},
			want:   func(Report) error { return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			encoded := tc.report.Encode()
			if len(encoded) > MaxReport {
				t.Fatalf("%d bytes, more than %d: %s", len(encoded), MaxReport, tc.why)
			}
			got, err := Decode(string(encoded))
			if err != nil {
				t.Fatal(err)
			}
			if !utf8.ValidString(got.Message) {
				t.Errorf("the message is not UTF-8: %s", tc.why)
			}
			if err := tc.want(got); err != nil {
				t.Errorf("%v: %s", err, tc.why)
			}
		})
	}
}

func TestClose(t *testing.T) {
	for name, tc := range map[string]struct {
		why  string
		err  error
		want Report
		exit int
	}{
		"well":      {why: "no error is success", want: Report{Result: "Succeeded"}, exit: ExitSucceeded},
		"unknown":   {why: "what nobody classified may be well later", err: errors.New("EOF"), want: Report{Result: "Failed", Reason: "RunFailed", Message: "EOF"}, exit: ExitRetry},
		"transient": {why: "a wrapped failure keeps its reason and its context", err: fmt.Errorf("page 3: %w", Fail("DestinationUnreachable", "refused")), want: Report{Result: "Failed", Reason: "DestinationUnreachable", Message: "page 3: refused"}, exit: ExitRetry},
		"fatal":     {why: "a Job must not try again what only a person can mend", err: Refuse("MappingInvalid", "line 2"), want: Report{Result: "Failed", Reason: "MappingInvalid", Message: "line 2"}, exit: ExitFatal},
	} {
		t.Run(name, func(t *testing.T) {
			var got Report
			if exit := got.Close(tc.err); exit != tc.exit {
				t.Errorf("exit code %d, want %d: %s", exit, tc.exit, tc.why)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.why, diff)
			}
		})
	}
}

func TestReadOrder(t *testing.T) {
	t.Setenv(OrderVariable, "")
	if _, err := ReadOrder[PullOrder](); err == nil || !strings.Contains(err.Error(), OrderVariable) {
		t.Errorf("an absent order must name its variable, got %v", err)
	}
	t.Setenv(OrderVariable, `{"source":"crm","sql":{"driver":"postgres","query":"select 1"}}`)
	order, err := ReadOrder[PullOrder]()
	if err != nil {
		t.Fatal(err)
	}
	if order.Source != "crm" || order.SQL == nil || order.SQL.Query != "select 1" {
		t.Errorf("read %+v", order)
	}
}
