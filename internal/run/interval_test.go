package run

import (
	"strings"
	"testing"
	"time"
)

func TestInterval(t *testing.T) {
	i := Interval{From: time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC), Zone: "Europe/Berlin"}
	for text, want := range map[string]string{
		"s3://b/orders-{from:yyyy-MM-dd}.csv":                         "s3://b/orders-2026-11-23.csv",
		"{from:yyyy/MM/dd/HH} {to:dd.MM.yyyy HH:mm:ss}":               "2026/11/23/00 24.11.2026 00:00:00",
		"select '{from:yyyy-MM-ddTHH:mm:ss}', '{\"from\": 1}', '{a}'": "select '2026-11-23T00:00:00', '{\"from\": 1}', '{a}'",
		"nothing": "nothing",
	} {
		got, err := i.Fill(text)
		if err != nil || got != want || HasPlaceholder(text) != (text != want) {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"{from:}", "{to:YYYY}", "{from:yyyy-MM-dd'; drop table x; --}", "{from:2006}"} {
		if _, err := i.Fill(text); err == nil || !strings.Contains(err.Error(), "{from:yyyy-MM-dd}") {
			t.Errorf("%s: %v, want an error that says what to write", text, err)
		}
	}
}
