package event

import (
	"math"
	"time"

	"github.com/tidwall/gjson"
)

// The warehouse's DateTime64 holds the years 1900 to 2299; senders with broken clocks or sentinel values (0001-01-01,
// 9999-12-31) must not leave it.
var (
	earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC)
)

// layouts that senders use beside RFC 3339. Without a zone the time is UTC.
var layouts = [...]string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999", "2006-01-02",
}

// parseTime reads a time that a sender gave: ISO 8601, or a number of milliseconds since 1970.
func parseTime(value gjson.Result) (time.Time, bool) {
	switch value.Type {
	case gjson.Number:
		if math.Abs(value.Num) > 1e13 { // beyond the year 2286
			return time.Time{}, false
		}
		return time.UnixMilli(int64(value.Num)).UTC(), true
	case gjson.String:
		return parseTimeText(value.Str)
	}
	return time.Time{}, false
}

func parseTimeText(text string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), !t.Before(earliest) && !t.After(latest)
		}
	}
	return time.Time{}, false
}

// correct takes the sender's clock error out: the time between the event and its sending is right by any clock, so
// occurred = received − (sentAt − original). https://segment.com/docs/connections/spec/common/#timestamp-overview
//
// Without a sentAt that can be read the given time stands. What would lie after its arrival is set to its arrival.
func correct(original time.Time, sentAt string, received time.Time) time.Time {
	occurred := original
	if sentAt != "" {
		if sent, ok := parseTimeText(sentAt); ok {
			occurred = received.Add(-sent.Sub(original))
		}
	}
	if occurred.After(received) || occurred.Before(earliest) {
		return received
	}
	return occurred.Truncate(time.Millisecond)
}

// clampTime keeps the receiver's clock inside what the warehouse holds.
func clampTime(t time.Time) time.Time {
	switch {
	case t.Before(earliest):
		return earliest
	case t.After(latest):
		return latest
	}
	return t.UTC().Truncate(time.Millisecond)
}
