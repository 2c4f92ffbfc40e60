package membership

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
)

// world is what a warehouse holds, small enough to look at every row for every question.
type world struct {
	events    []event
	traits    []trait
	overrides map[uint64]uint64 // merged profile -> survivor
	stored    map[string][]uint64
}

type event struct {
	name       string
	profile    uint64
	occurred   time.Time
	properties string
}

// A trait's place in the list is the order of arrival.
type trait struct {
	profile  uint64
	name     string
	value    string
	occurred time.Time
}

func (w *world) resolve(profile uint64) uint64 {
	if survivor, merged := w.overrides[profile]; merged {
		return survivor
	}
	return profile
}

// matches is a rule that was made together with the text of match, so that reading that text is tested too.
type matches func(answer func(name string) bool) bool

// holds answers an Audience for one surviving profile, straight from the meaning that api/v1alpha1 gives each field.
// members answers for other audiences.
func (w *world) holds(a *v1alpha1.Audience, rule matches, profile uint64, now time.Time, members func(name string) bool) bool {
	answers := map[string]bool{}
	for _, c := range a.Spec.Criteria {
		switch {
		case c.Event != nil:
			answers[c.Name] = w.did(c.Event, profile, now)
		case c.Sequence != nil:
			answers[c.Name] = w.didInOrder(c.Sequence, profile, now)
		case c.Trait != nil:
			answers[c.Name] = compare(w.trait(profile, c.Trait.Name), c.Trait.Operator, c.Trait.Values, now)
		case c.Sample != nil:
			salt := c.Sample.Salt
			if salt == "" {
				salt = a.Name
			}
			answers[c.Name] = xxhash.Sum64String(fmt.Sprintf("%s:%d", salt, profile))%100 < uint64(c.Sample.Percent)
		case c.Members != nil:
			for p := uint64(1); p <= profiles; p++ {
				if slices.Contains(c.Members.IDs, publicID(p)) && w.resolve(p) == profile {
					answers[c.Name] = true
				}
			}
		default:
			answers[c.Name] = members(c.Audience.Name)
		}
	}
	return rule(func(name string) bool { return answers[name] })
}

func (w *world) did(c *v1alpha1.EventCriterion, profile uint64, now time.Time) bool {
	var n int64
	var values []float64
	for _, e := range w.events {
		if e.name != c.Name || w.resolve(e.profile) != profile || e.occurred.After(now) || !inSpan(e.occurred, c.Within, c.Between, now) || !meets(e, c.Where, now) {
			continue
		}
		n++
		if c.Aggregate != nil {
			if number, ok := lookUp(decode(e.properties), strings.Split(c.Aggregate.Property, ".")).(float64); ok {
				values = append(values, number)
			}
		}
	}
	enough := n >= 1
	if c.Count != nil {
		enough = (c.Count.Min == nil || n >= *c.Count.Min) && (c.Count.Max == nil || n <= *c.Count.Max)
	}
	return enough && (c.Aggregate == nil || aggregated(c.Aggregate, values, now))
}

func aggregated(a *v1alpha1.Aggregate, values []float64, now time.Time) bool {
	if len(values) == 0 {
		return false
	}
	slices.Sort(values)
	var sum float64
	for _, value := range values {
		sum += value
	}
	made := map[v1alpha1.AggregateFunction]float64{"Sum": sum, "Average": sum / float64(len(values)), "Min": values[0], "Max": values[len(values)-1]}[a.Function]
	return compare(made, a.Operator, []any{a.Value}, now)
}

func inSpan(t time.Time, within v1alpha1.Duration, between *v1alpha1.Between, now time.Time) bool {
	if within != "" && !t.After(now.Add(-long(within))) {
		return false
	}
	if between == nil {
		return true
	}
	if from, isMoment := point(string(between.From)); isMoment {
		if t.Before(from) {
			return false
		}
	} else if between.From != "" && !t.After(now.Add(-long(v1alpha1.Duration(between.From)))) {
		return false
	}
	if to, isMoment := point(string(between.To)); isMoment {
		return t.Before(to)
	}
	return between.To == "" || !t.After(now.Add(-long(v1alpha1.Duration(between.To))))
}

func long(text v1alpha1.Duration) time.Duration {
	d, err := model.ParseDuration(string(text))
	if err != nil {
		panic(err)
	}
	return time.Duration(d)
}

// point reads a moment as Go does.
func point(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && !strings.Contains(text, ",") {
			written, _ := strconv.Atoi(text[:4])
			return t.Truncate(time.Millisecond), written >= 1900 && written <= 2299
		}
	}
	return time.Time{}, false
}

func meets(e event, where []v1alpha1.PropertyCondition, now time.Time) bool {
	for _, p := range where {
		if !compare(lookUp(decode(e.properties), strings.Split(p.Property, ".")), p.Operator, p.Values, now) {
			return false
		}
	}
	return true
}

// didInOrder tries every event for every step.
func (w *world) didInOrder(c *v1alpha1.SequenceCriterion, profile uint64, now time.Time) bool {
	var own []event
	for _, e := range w.events {
		named := slices.ContainsFunc(c.Steps, func(s v1alpha1.SequenceStep) bool { return s.Name == e.name })
		if named && w.resolve(e.profile) == profile && !e.occurred.After(now) && inSpan(e.occurred, c.Within, nil, now) {
			own = append(own, e)
		}
	}
	var from func(step int, first, last time.Time) bool
	from = func(step int, first, last time.Time) bool {
		if step == len(c.Steps) {
			return c.Window == "" || last.Sub(first) <= long(c.Window)
		}
		for _, e := range own {
			if e.name != c.Steps[step].Name || !meets(e, c.Steps[step].Where, now) {
				continue
			}
			if step == 0 {
				if from(1, e.occurred, e.occurred) {
					return true
				}
				continue
			}
			between := slices.ContainsFunc(own, func(other event) bool { return other.occurred.After(last) && other.occurred.Before(e.occurred) })
			if e.occurred.After(last) && (!c.Strict || !between) && from(step+1, first, e.occurred) {
				return true
			}
		}
		return false
	}
	return from(0, time.Time{}, time.Time{})
}

func (w *world) trait(profile uint64, name string) any {
	var latest *trait
	for i, t := range w.traits {
		if t.name != name || w.resolve(t.profile) != profile {
			continue
		}
		if latest == nil || t.occurred.After(latest.occurred) || t.occurred.Equal(latest.occurred) {
			latest = &w.traits[i]
		}
	}
	if latest == nil {
		return nil
	}
	return decode(latest.value)
}

func decode(text string) any {
	var v any
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&v); err != nil {
		panic(err)
	}
	return v
}

func lookUp(v any, path []string) any {
	for _, part := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part]
	}
	return v
}

// compare applies an operator; nil is what is not there, and null.
func compare[T any](v any, operator v1alpha1.Operator, raw []T, now time.Time) bool {
	var values []any
	for _, r := range raw {
		text, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		values = append(values, decode(string(text)))
	}
	switch operator {
	case v1alpha1.OperatorExists:
		return v != nil
	case v1alpha1.OperatorNotExists:
		return v == nil
	case v1alpha1.OperatorNotEquals:
		return !compareAny(v, v1alpha1.OperatorEquals, values, now)
	case v1alpha1.OperatorNotContains:
		return !compareAny(v, v1alpha1.OperatorContains, values, now)
	default:
		return compareAny(v, operator, values, now)
	}
}

func compareAny(v any, operator v1alpha1.Operator, values []any, now time.Time) bool {
	for _, value := range values {
		if compareOne(v, operator, value, now) {
			return true
		}
	}
	return false
}

func compareOne(v any, operator v1alpha1.Operator, value any, now time.Time) bool {
	text, isText := v.(string)
	wanted, wantsText := value.(string)
	number, isNumber := v.(float64)
	bound, wantsNumber := value.(float64)
	switch operator {
	case v1alpha1.OperatorEquals:
		return isScalar(v) && v == value
	case v1alpha1.OperatorContains:
		if list, ok := v.([]any); ok {
			for _, element := range list {
				if isScalar(element) && element == value {
					return true
				}
			}
			return false
		}
		return isText && wantsText && strings.Contains(text, wanted)
	case v1alpha1.OperatorStartsWith:
		return isText && wantsText && strings.HasPrefix(text, wanted)
	case v1alpha1.OperatorEndsWith:
		return isText && wantsText && strings.HasSuffix(text, wanted)
	case v1alpha1.OperatorGreaterThan:
		return isNumber && wantsNumber && number > bound
	case v1alpha1.OperatorAtLeast:
		return isNumber && wantsNumber && number >= bound
	case v1alpha1.OperatorLessThan:
		return isNumber && wantsNumber && number < bound
	case v1alpha1.OperatorAtMost:
		return isNumber && wantsNumber && number <= bound
	case v1alpha1.OperatorMatches:
		return isText && wantsText && regexp.MustCompile(wanted).MatchString(text)
	default:
		t, isMoment := point(text)
		return isText && isMoment && timely(t, operator, wanted, now)
	}
}

func timely(t time.Time, operator v1alpha1.Operator, wanted string, now time.Time) bool {
	if moment, ok := point(wanted); ok {
		switch operator {
		case v1alpha1.OperatorBefore:
			return t.Before(moment)
		case v1alpha1.OperatorAfter:
			return t.After(moment)
		case v1alpha1.OperatorOn:
			return !t.Before(moment) && t.Before(moment.Add(24*time.Hour))
		}
	}
	d := long(v1alpha1.Duration(wanted))
	switch operator {
	case v1alpha1.OperatorWithinLast:
		return t.After(now.Add(-d)) && !t.After(now)
	case v1alpha1.OperatorWithinNext:
		return t.After(now) && !t.After(now.Add(d))
	case v1alpha1.OperatorBeforeLast:
		return !t.After(now.Add(-d))
	case v1alpha1.OperatorAfterNext:
		return t.After(now.Add(d))
	default:
		panic("unknown operator " + operator)
	}
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, float64, bool:
		return true
	}
	return false
}
