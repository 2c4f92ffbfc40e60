package schedule

import (
	"slices"
	"testing"
	"time"
)

// On the day of a change of the clocks no run is lost and none comes twice.
func TestChangesOfTheClocks(t *testing.T) {
	for _, c := range []struct {
		why, schedule, zone, from, to string
		want                          []string
	}{
		{"02:30 is left out in spring: the run comes when the clocks have been put forward, and not a day later",
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"of many that are left out, one comes",
			"*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", []string{"2026-03-29T01:00:00Z"}},
		{"a time after the gap is where it was",
			"0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", []string{"2026-03-29T01:00:00Z"}},
		{"another day's run is not made up for",
			"30 2 * * 1", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", []string{"2026-03-30T00:30:00Z"}},
		{"midnight is left out in Santiago",
			"0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-07T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
		{"half an hour is left out on Lord Howe Island",
			"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", "2026-10-04T20:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"02:30 comes twice in autumn: the first counts, east",
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"and west of Greenwich",
			"30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
		{"every hour is every hour that passes, in autumn",
			"0 * * * *", "Europe/Berlin", "2026-10-24T22:30:00Z", "2026-10-25T02:30:00Z",
			[]string{"2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		{"and in spring",
			"0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T02:30:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			s, err := Parse(c.schedule, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			from, to := at(t, c.from), at(t, c.to)
			var next, last []string
			for now := from; ; {
				slot, ok := s.Next(from, now)
				if !ok || slot.After(to) {
					break
				}
				next, now = append(next, format(slot, ok)), slot
			}
			for now := from; !now.After(to); now = now.Add(time.Minute) {
				if slot, ok := s.Last(from, now); ok && !slices.Contains(last, format(slot, ok)) {
					last = append(last, format(slot, ok))
				}
			}
			if !slices.Equal(next, c.want) {
				t.Errorf("next slots = %v, want %v", next, c.want)
			}
			if !slices.Equal(last, c.want) {
				t.Errorf("last slots, minute by minute = %v, want %v", last, c.want)
			}
		})
	}
}
