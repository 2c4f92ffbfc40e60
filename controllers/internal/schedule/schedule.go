// Package schedule turns an interval or a cron expression into slots: the moments that runs stand for.
//
// Slots are a function of the schedule and of an anchor, the creation of the object, so that a controller that starts
// over finds the same ones.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/adhocore/gronx"
	"github.com/prometheus/common/model"
)

// Minimum is the shortest interval: a pod takes seconds to start.
const Minimum = 10 * time.Second

// Schedule is an interval or a cron expression in a time zone.
type Schedule struct {
	every time.Duration
	cron  string
	zone  *time.Location
}

// Parse reads a schedule such as 15m or "0 6 * * *". zone is an IANA name for a cron expression; empty is UTC. Errors
// say what to write instead, and not which field it is.
func Parse(text, zone string) (Schedule, error) {
	if every, err := model.ParseDuration(text); err == nil {
		if zone != "" {
			return Schedule{}, fmt.Errorf("an interval has no time zone; leave timeZone out, or use a cron expression such as 0 6 * * *")
		}
		if time.Duration(every) < Minimum {
			return Schedule{}, fmt.Errorf("%q is shorter than %s, the shortest interval", text, Minimum)
		}
		return Schedule{every: time.Duration(every)}, nil
	}
	if len(strings.Fields(text)) != 5 || !gronx.IsValid(text) {
		return Schedule{}, fmt.Errorf("%q is neither an interval such as 15m nor a cron expression of five fields such as 0 6 * * *", text)
	}
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return Schedule{}, fmt.Errorf("time zone %q is not known; use an IANA name such as Europe/Berlin", zone)
	}
	s := Schedule{cron: text, zone: location}
	if _, ok := s.Next(time.Unix(0, 0), time.Unix(0, 0)); !ok {
		return Schedule{}, fmt.Errorf("%q never comes: no day has that date", text)
	}
	return s, nil
}

// Last is the newest slot that is not after now; false when there is none since the anchor. The first slot of an
// interval is the anchor itself.
func (s Schedule) Last(anchor, now time.Time) (time.Time, bool) {
	anchor, now = anchor.Truncate(time.Second), now.Truncate(time.Second)
	if now.Before(anchor) {
		return time.Time{}, false
	}
	if s.every > 0 {
		return anchor.Add(now.Sub(anchor) / s.every * s.every).UTC(), true
	}
	return s.tickUntil(anchor, now)
}

// Before is the slot before a slot, whenever the object was made.
func (s Schedule) Before(slot time.Time) time.Time {
	if s.every > 0 {
		return slot.Add(-s.every).UTC()
	}
	if tick, ok := s.tickUntil(time.Time{}, slot.Add(-time.Second)); ok {
		return tick
	}
	return slot.UTC() // there is none
}

// Next is the first slot after now; false when a cron expression has none.
func (s Schedule) Next(anchor, now time.Time) (time.Time, bool) {
	anchor, now = anchor.Truncate(time.Second), now.Truncate(time.Second)
	if s.every > 0 {
		if now.Before(anchor) {
			return anchor.UTC(), true
		}
		return anchor.Add((now.Sub(anchor)/s.every + 1) * s.every).UTC(), true
	}
	return s.tickAfter(now)
}
