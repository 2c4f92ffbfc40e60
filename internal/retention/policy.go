package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
)

// Policy is a RetentionPolicy that was read and found sound.
type Policy struct {
	tables  []table
	sources []string
	events  []string
	maxAge  time.Duration
	dryRun  bool
	// plain policies cover every row of their tables, by the clock that partitions are made by.
	plain bool
}

// table that a policy covers, and the column that age counts from.
type table struct{ name, clock string }

// Read takes the spec of a policy apart. The error names the field and the remedy.
func Read(p *v1alpha1.RetentionPolicy) (Policy, error) {
	age, err := model.ParseDuration(string(p.Spec.MaxAge))
	if err != nil || age <= 0 {
		return Policy{}, fmt.Errorf("spec.maxAge: %q is no duration longer than nothing; write one such as 12h, 90d or 1y", p.Spec.MaxAge)
	}
	out := Policy{
		sources: sorted(p.Spec.Select.Sources), events: sorted(p.Spec.Select.Events),
		maxAge: time.Duration(age), dryRun: p.Spec.DryRun,
	}
	for _, data := range p.Spec.Select.Data {
		t := table{name: "events", clock: "received"}
		switch data {
		case v1alpha1.RetainEvents:
			if p.GetFrom() == v1alpha1.FromOccurred {
				t.clock = "occurred"
			}
		case v1alpha1.RetainQuarantine:
			t.name = "quarantine"
			if p.GetFrom() == v1alpha1.FromOccurred {
				return Policy{}, fmt.Errorf("spec.from: quarantine knows only when a row was received; make a policy of its own for it")
			}
			if len(out.events) > 0 {
				return Policy{}, fmt.Errorf("spec.select.events: what is in quarantine has no sure name; make a policy of its own for it")
			}
		default:
			return Policy{}, fmt.Errorf("spec.select.data: %q is neither Events nor Quarantine", data)
		}
		out.tables = append(out.tables, t)
	}
	if len(out.tables) == 0 {
		return Policy{}, fmt.Errorf("spec.select.data: name Events, Quarantine or both")
	}
	out.plain = len(out.sources) == 0 && len(out.events) == 0 && p.GetFrom() == v1alpha1.FromReceived
	return out, nil
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// Cutoff is the moment before which every row is due: it reaches its age on some day, and is deleted at the midnight
// (UTC) that ends that day. Until then it is kept, so that everything of a day goes at once.
//
// With t the row's time, floor(t+maxAge)+1d <= now is the same as t+maxAge < floor(now), where floor cuts to the day.
func (p Policy) Cutoff(now time.Time) time.Time {
	return now.UTC().Truncate(24 * time.Hour).Add(-p.maxAge)
}

// covers is the SQL condition of the rows of t that the policy is about; empty for all.
func (p Policy) covers() string {
	var tests []string
	if len(p.sources) > 0 {
		tests = append(tests, "source IN ("+quoted(p.sources)+")")
	}
	if len(p.events) > 0 {
		tests = append(tests, "event IN ("+quoted(p.events)+")")
	}
	return strings.Join(tests, " AND ")
}

// due is the SQL condition of the rows of t that must be gone.
func (p Policy) due(t table, cutoff time.Time) string {
	test := t.clock + " < " + audience.Moment(cutoff)
	if rows := p.covers(); rows != "" {
		test += " AND " + rows
	}
	return test
}

// whole says that every row of a monthly partition, also one that comes later, is due. id is ClickHouse's: 202611.
func (p Policy) whole(id string, cutoff time.Time) bool {
	month, err := time.Parse("200601", id)
	return p.plain && err == nil && !month.AddDate(0, 1, 0).After(cutoff)
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = audience.Quote(name)
	}
	return strings.Join(out, ", ")
}
