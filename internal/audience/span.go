package audience

import (
	"regexp"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
)

// span is the time in which events count, up to the moment of the evaluation at the latest.
type span struct {
	From *edge `json:"f,omitempty"` // nil: from the beginning
	To   *edge `json:"t,omitempty"` // nil: to now
}

// edge of a span: a moment, or an age at the moment of the evaluation.
type edge struct {
	Age time.Duration `json:"a,omitempty"`
	At  *int64        `json:"m,omitempty"` // milliseconds since 1970; nil: an age
}

func readSpan(field string, within v1alpha1.Duration, between *v1alpha1.Between) (span, error) {
	var s span
	if within != "" {
		age, err := readDuration(field+".within", within)
		if err != nil {
			return s, err
		}
		s.From = &edge{Age: age}
	}
	if between == nil {
		return s, nil
	}
	if within != "" {
		return s, invalid(field+".between", "within and between exclude each other; between {from} is within")
	}
	field += ".between"
	if between.From == "" && between.To == "" {
		return s, invalid(field, "from or to is needed")
	}
	var err error
	if s.From, err = readEdge(field+".from", between.From); err != nil {
		return s, err
	}
	if s.To, err = readEdge(field+".to", between.To); err != nil {
		return s, err
	}
	if s.From == nil || s.To == nil {
		return s, nil
	}
	bothAges, bothMoments := s.From.At == nil && s.To.At == nil, s.From.At != nil && s.To.At != nil
	if bothAges && s.From.Age <= s.To.Age || bothMoments && *s.From.At >= *s.To.At {
		return s, invalid(field, "from (%s) is not before to (%s); exchange them", between.From, between.To)
	}
	return s, nil
}

func readEdge(field string, m v1alpha1.Moment) (*edge, error) {
	if m == "" {
		return nil, nil
	}
	if t, ok := readMoment(string(m)); ok {
		return &edge{At: &t}, nil
	}
	age, err := readDuration(field, v1alpha1.Duration(m))
	if err != nil {
		return nil, invalid(field, "%q is neither a date such as 2026-01-31 or 2026-01-31T12:00:00+01:00, of the years 1900 to 2299, nor a duration such as 90d", m)
	}
	return &edge{Age: age}, nil
}

// momentPattern is what a moment looks like, to Go and to the warehouse alike: RFC 3339 of the years that a DateTime64 can
// hold, or a day. That the day is in the calendar is checked apart.
const momentPattern = `^(19|2[0-2])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$`

var isMoment = regexp.MustCompile(momentPattern)

// readMoment gives milliseconds since 1970, rounded down.
func readMoment(text string) (int64, bool) {
	if !isMoment.MatchString(text) {
		return 0, false
	}
	layout := time.RFC3339Nano
	if len(text) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	t, err := time.Parse(layout, text)
	return t.UnixMilli(), err == nil
}

// moment of the edge, for an evaluation at a moment.
func (e edge) moment(at time.Time) time.Time {
	if e.At != nil {
		return time.UnixMilli(*e.At)
	}
	return at.Add(-e.Age)
}

// lower is the moment before which nothing counts; false when there is none that the warehouse can tell.
func (s span) lower(at time.Time) (time.Time, bool) {
	if s.From == nil {
		return time.Time{}, false
	}
	from := s.From.moment(at)
	return from, from.After(earliest)
}

// tests are the SQL conditions on the column occurred, beside that it is not after at.
func (s span) tests(at time.Time) []string {
	var out []string
	if from, ok := s.lower(at); ok {
		if s.From.At != nil {
			out = append(out, "occurred >= "+Moment(from))
		} else {
			out = append(out, "occurred > "+Moment(from))
		}
	}
	if s.To == nil {
		return out
	}
	to := s.To.moment(at)
	switch {
	case !to.After(earliest):
		return append(out, "0")
	case s.To.At != nil:
		return append(out, "occurred < "+Moment(to))
	default:
		return append(out, "occurred <= "+Moment(to))
	}
}
