package schedule

import (
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// maxPeriods is how many spans between two changes of the clocks are searched: the rarest date, 29 February around 2100,
// is eight years away, and no zone changes its clocks more than four times a year.
const maxPeriods = 64

// period is a span in which a zone's clocks run evenly, so that a cron expression means the same throughout.
type period struct {
	start, end time.Time // end is not in it; zero when there is none
	clock      *time.Location
	before     *time.Location // the clock until start
	shift      time.Duration  // how far the clocks were put forward at start
}

func periodOf(zone *time.Location, at time.Time) period {
	at = at.In(zone)
	p := period{}
	p.start, p.end = at.ZoneBounds()
	_, offset := at.Zone()
	p.clock = time.FixedZone("", offset)
	if !p.start.IsZero() {
		_, earlier := p.start.Add(-time.Nanosecond).Zone()
		p.before, p.shift = time.FixedZone("", earlier), time.Duration(offset-earlier)*time.Second
	}
	return p
}

// everyHour says that an expression means a distance and not a time of day: such a run comes in every hour that passes.
// One with hours comes once on the day of a change: at the first of two equal times, and where its time is left out, as
// soon as the clocks have been put forward.
func (s Schedule) everyHour() bool { return strings.HasPrefix(strings.Fields(s.cron)[1], "*") }

// repeatedUntil is when the times of day that were there before the change are over.
func (s Schedule) repeatedUntil(p period) time.Time {
	if p.shift < 0 && !s.everyHour() {
		return p.start.Add(-p.shift)
	}
	return p.start
}

// opens says whether the change of the clocks left out a time at which a run was due, so that it is due at the change.
func (s Schedule) opens(p period) bool {
	if p.shift <= 0 || s.everyHour() {
		return false
	}
	left, err := gronx.NextTickAfter(s.cron, p.start.In(p.before), true)
	return err == nil && left.Before(p.start.Add(p.shift))
}

// tickAfter is the first tick after now.
func (s Schedule) tickAfter(now time.Time) (time.Time, bool) {
	from, inclusive := now, false
	for range maxPeriods {
		p := periodOf(s.zone, from)
		if inclusive && s.opens(p) {
			return p.start.UTC(), true
		}
		if until := s.repeatedUntil(p); from.Before(until) {
			from, inclusive = until, true
		}
		tick, err := gronx.NextTickAfter(s.cron, from.In(p.clock), inclusive)
		if err != nil {
			return time.Time{}, false
		}
		if p.end.IsZero() || tick.Before(p.end) {
			return tick.UTC(), true
		}
		from, inclusive = p.end, true
	}
	return time.Time{}, false
}

// tickUntil is the last tick that is not after now and not before anchor.
func (s Schedule) tickUntil(anchor, now time.Time) (time.Time, bool) {
	for range maxPeriods {
		if now.Before(anchor) {
			break
		}
		p := periodOf(s.zone, now)
		tick, err := gronx.PrevTickBefore(s.cron, now.In(p.clock), true)
		if err != nil {
			break
		}
		switch {
		case p.start.IsZero() || !tick.Before(s.repeatedUntil(p)):
			return tick.UTC(), !tick.Before(anchor)
		case s.opens(p):
			return p.start.UTC(), !p.start.Before(anchor)
		}
		now = p.start.Add(-time.Second)
	}
	return time.Time{}, false
}
