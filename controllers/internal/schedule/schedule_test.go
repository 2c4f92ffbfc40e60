package schedule

import (
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSlots(t *testing.T) {
	for _, c := range []struct {
		why, schedule, zone, anchor, now, last, next string
	}{
		{"the first slot of an interval is the anchor, so that a new object runs at once",
			"15m", "", "2026-11-23T10:07:30Z", "2026-11-23T10:07:30Z", "2026-11-23T10:07:30Z", "2026-11-23T10:22:30Z"},
		{"slots keep the anchor's phase, so that objects made at different times do not run together",
			"15m", "", "2026-11-23T10:07:30Z", "2026-11-23T11:00:00Z", "2026-11-23T10:52:30Z", "2026-11-23T11:07:30Z"},
		{"of many missed slots the newest counts",
			"1h", "", "2026-11-01T00:00:00Z", "2026-11-23T11:59:59Z", "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"},
		{"a moment that is a slot is its own last and not its next",
			"1h", "", "2026-11-23T00:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z"},
		{"fractions of a second do not matter: the API server's times have none",
			"10s", "", "2026-11-23T10:00:00Z", "2026-11-23T10:00:09.999Z", "2026-11-23T10:00:00Z", "2026-11-23T10:00:10Z"},
		{"a clock behind the API server's gives no slot before the object was made",
			"15m", "", "2026-11-23T10:07:30Z", "2026-11-23T10:07:29Z", "", "2026-11-23T10:07:30Z"},
		{"a cron expression has no slot before its first tick",
			"0 6 * * *", "", "2026-11-23T06:00:01Z", "2026-11-24T05:59:59Z", "", "2026-11-24T06:00:00Z"},
		{"a tick is its own last",
			"0 6 * * *", "", "2026-11-22T10:00:00Z", "2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z", "2026-11-24T06:00:00Z"},
		{"half past a tick the tick is last, with its own seconds",
			"*/30 * * * *", "", "2026-11-22T10:00:00Z", "2026-11-23T06:44:31Z", "2026-11-23T06:30:00Z", "2026-11-23T07:00:00Z"},
		{"a cron expression is read in its time zone: 06:00 in Berlin is 05:00 UTC in winter",
			"0 6 * * *", "Europe/Berlin", "2026-11-20T00:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T05:00:00Z", "2026-11-24T05:00:00Z"},
		{"and 04:00 UTC in summer",
			"0 6 * * *", "Europe/Berlin", "2026-06-20T00:00:00Z", "2026-06-23T12:00:00Z", "2026-06-23T04:00:00Z", "2026-06-24T04:00:00Z"},
		{"over the change to winter time the wall clock stays",
			"0 6 * * *", "Europe/Berlin", "2026-10-20T00:00:00Z", "2026-10-24T12:00:00Z", "2026-10-24T04:00:00Z", "2026-10-25T05:00:00Z"},
		{"weekdays",
			"0 9 * * 1", "", "2026-11-01T00:00:00Z", "2026-11-25T00:00:00Z", "2026-11-23T09:00:00Z", "2026-11-30T09:00:00Z"},
		{"a leap day is years away and still found",
			"0 0 29 2 *", "", "2026-11-01T00:00:00Z", "2026-11-25T00:00:00Z", "", "2028-02-29T00:00:00Z"},
	} {
		t.Run(c.why, func(t *testing.T) {
			s, err := Parse(c.schedule, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			last, ok := s.Last(at(t, c.anchor), at(t, c.now))
			if got := format(last, ok); got != c.last {
				t.Errorf("last slot = %q, want %q", got, c.last)
			}
			next, ok := s.Next(at(t, c.anchor), at(t, c.now))
			if got := format(next, ok); got != c.next {
				t.Errorf("next slot = %q, want %q", got, c.next)
			}
		})
	}
}

func format(v time.Time, ok bool) string {
	if !ok {
		return ""
	}
	return v.Format(time.RFC3339)
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ why, schedule, zone, message string }{
		{"a word", "daily", "", "neither an interval"},
		{"macros are no expression of five fields", "@daily", "", "neither an interval"},
		{"a field for seconds would run every second", "* * * * * *", "", "neither an interval"},
		{"a minute that no hour has", "61 * * * *", "", "neither an interval"},
		{"too short for a pod to start", "5s", "", "shorter than 10s"},
		{"zero", "0s", "", "shorter than 10s"},
		{"a time zone means nothing to an interval", "15m", "Europe/Berlin", "no time zone"},
		{"an unknown time zone", "0 6 * * *", "Europe/Atlantis", "not known"},
		{"the zone of the operator's machine is nobody's business", "0 6 * * *", "Local", "not known"},
		{"a date that no year has", "0 0 30 2 *", "", "never comes"},
	} {
		t.Run(c.why, func(t *testing.T) {
			if _, err := Parse(c.schedule, c.zone); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("Parse(%q, %q) = %v, want an error with %q", c.schedule, c.zone, err, c.message)
			}
		})
	}
}

// Every slot that Next promises must be the Last one once its time has come, or nextRun in the status lies.
func TestNextBecomesLast(t *testing.T) {
	anchor := at(t, "2026-01-01T00:00:07Z")
	for _, text := range []string{"15m", "24h", "90d", "*/7 * * * *", "5 4 * * *", "0 12 1 * *", "30 2 * * 0"} {
		for _, zone := range []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"} {
			s, err := Parse(text, zone)
			if err != nil {
				continue // an interval with a zone
			}
			for now := anchor; now.Before(anchor.AddDate(0, 11, 0)); now = now.Add(37*time.Hour + 11*time.Minute) {
				next, ok := s.Next(anchor, now)
				if !ok || !next.After(now) {
					t.Fatalf("%s %s: Next(%s) = %s, %t", text, zone, now, next, ok)
				}
				last, ok := s.Last(anchor, next)
				if !ok || !last.Equal(next) {
					t.Errorf("%s %s: at %s the last slot is %s, %t", text, zone, next, last, ok)
				}
			}
		}
	}
}
