package membership

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

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
		case c.Trait != nil:
			answers[c.Name] = compare(w.trait(profile, c.Trait.Name), c.Trait.Operator, c.Trait.Values)
		default:
			answers[c.Name] = members(c.Audience.Name)
		}
	}
	return rule(func(name string) bool { return answers[name] })
}

func (w *world) did(c *v1alpha1.EventCriterion, profile uint64, now time.Time) bool {
	var n int64
	for _, e := range w.events {
		if e.name != c.Name || w.resolve(e.profile) != profile || e.occurred.After(now) {
			continue
		}
		if c.Within != "" {
			d, err := model.ParseDuration(string(c.Within))
			if err != nil {
				panic(err)
			}
			if !e.occurred.After(now.Add(-time.Duration(d))) {
				continue
			}
		}
		met := true
		for _, p := range c.Where {
			met = met && compare(lookUp(decode(e.properties), strings.Split(p.Property, ".")), p.Operator, p.Values)
		}
		if met {
			n++
		}
	}
	if c.Count == nil {
		return n >= 1
	}
	return (c.Count.Min == nil || n >= *c.Count.Min) && (c.Count.Max == nil || n <= *c.Count.Max)
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
func compare[T any](v any, operator v1alpha1.Operator, raw []T) bool {
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
		return !compareAny(v, v1alpha1.OperatorEquals, values)
	case v1alpha1.OperatorNotContains:
		return !compareAny(v, v1alpha1.OperatorContains, values)
	default:
		return compareAny(v, operator, values)
	}
}

func compareAny(v any, operator v1alpha1.Operator, values []any) bool {
	for _, value := range values {
		if compareOne(v, operator, value) {
			return true
		}
	}
	return false
}

func compareOne(v any, operator v1alpha1.Operator, value any) bool {
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
