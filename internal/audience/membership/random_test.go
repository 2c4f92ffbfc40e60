package membership

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
)

// The words are few, so that random rules meet random data, and unpleasant, so that quoting is tested everywhere.
var (
	names     = []string{"Order Completed", "it's", `back\slash`, "') OR (1=1", "Ünï 🦄"}
	texts     = []string{"", "a", "ab", "bab", "A", "1", "true", "null", `q"uo'te\`, "'; DROP TABLE events --", "%", "🦄é", "\x00", "line\nbreak\ttab", "?", "{x:String}"}
	numbers   = []float64{0, 1, -1, 2, 1.5, 0.1, 1e21, -2.5e-7, 4503599627370497, 10}
	paths     = []string{"p", "q.r", "q.s.t", `n"m'\`, "it.s"}
	operators = []v1alpha1.Operator{"Equals", "NotEquals", "GreaterThan", "AtLeast", "LessThan", "AtMost", "Contains", "NotContains", "StartsWith", "EndsWith", "Exists", "NotExists",
		"Matches", "Before", "After", "On", "WithinLast", "WithinNext", "BeforeLast", "AfterNext"}
	patterns = []string{"a.b", "^a$", "b|1", `\x00`, "(?i)AB", "(?s)line.break", "e.b", `[[:punct:]]`, "🦄.", "^", `'`}
	// All of one moment, and others that are hard to read or are none.
	moments = []string{
		"2026-11-23T12:00:00.123Z", "2026-11-23T13:00:00.123+01:00", "2026-11-23T06:30:00.1230-05:30", "2026-11-23T12:00:00.123999999Z",
		"2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z", "2026-10-24T13:00:00+01:00", "2026-11-23", "2026-11-22", "2026-11-24", "2026-12-23T12:00:00.122Z",
		"2026-02-29", "2024-02-29", "1900-01-01", "1899-12-31", "1969-12-31T23:59:59.5Z", "2299-12-31T23:59:59.999Z", "2300-01-01",
		"2026-11-23 12:00:00", "2026-11-23T12:00Z", "20261123", "2026-11-23T24:00:00Z", "2026-13-01", "2026-11-23T12:00:00", "2026-11-23T12:00:00,5Z", "now",
	}
	windows = []v1alpha1.Duration{"", "1h", "30d", "250y"}
)

// profiles are numbered from 1.
const profiles = 8

func pick[T any](t *rapid.T, from []T) T { return from[rapid.IntRange(0, len(from)-1).Draw(t, "pick")] }

func chance(t *rapid.T, oneIn int) bool { return rapid.IntRange(1, oneIn).Draw(t, "chance") == 1 }

func scalar(t *rapid.T) any {
	switch rapid.IntRange(0, 4).Draw(t, "type") {
	case 0:
		return pick(t, texts)
	case 1:
		return pick(t, slices.Concat(texts, moments))
	case 2, 3:
		return pick(t, numbers)
	default:
		return rapid.Bool().Draw(t, "bool")
	}
}

// value is anything that JSON can hold.
func value(t *rapid.T) any {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return map[string]any{"r": scalar(t), "s": map[string]any{"t": scalar(t)}}
	case 2, 3:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			if chance(t, 6) {
				list = append(list, []any{scalar(t)}, nil, map[string]any{"p": 1})
			}
			list = append(list, scalar(t))
		}
		return list
	default:
		return scalar(t)
	}
}

func encode(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// moments around now and the edges of windows, to the millisecond.
func when(t *rapid.T, now time.Time) time.Time {
	edges := []time.Duration{0, time.Hour, 30 * 24 * time.Hour, 400 * 24 * time.Hour, -time.Hour}
	return now.Add(-pick(t, edges)).Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "ms")) * time.Millisecond)
}

// publicID of a profile in the table profiles.
func publicID(profile uint64) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", profile)
}

func (w *world) grow(t *rapid.T, now time.Time) {
	for range rapid.IntRange(0, 30).Draw(t, "events") {
		properties := map[string]any{}
		for _, key := range []string{"p", "q", `n"m'\`, "it"} {
			if !chance(t, 3) {
				properties[key] = value(t)
			}
		}
		if !chance(t, 4) { // numbers whose sum does not depend on the order
			properties["n"] = pick(t, []any{0.25, -1.5, 2.0, 3.0, 100.0, 0.0, "7", nil})
		}
		w.events = append(w.events, event{pick(t, names), who(t), when(t, now), encode(properties)})
	}
	seen := map[string]bool{}
	for _, old := range w.traits {
		seen[fmt.Sprint(old.profile, old.name, old.occurred)] = true
	}
	for range rapid.IntRange(0, 30).Draw(t, "traits") {
		// Few names and whole hours, so that merged profiles often hold values of the same moment.
		row := trait{who(t), pick(t, names[1:3]), encode(value(t)), when(t, now).Truncate(time.Hour)}
		// One profile cannot say two things at one moment: which one stays is the store's business.
		if key := fmt.Sprint(row.profile, row.name, row.occurred); !seen[key] {
			seen[key] = true
			w.traits = append(w.traits, row)
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "merges") {
		w.merge(who(t), who(t))
	}
}

func who(t *rapid.T) uint64 { return rapid.Uint64Range(1, profiles).Draw(t, "profile") }

// merge sends one survivor, and everybody who was merged into it, to another one: always in one step.
func (w *world) merge(loser, survivor uint64) {
	loser, survivor = w.resolve(loser), w.resolve(survivor)
	if loser == survivor {
		return
	}
	for merged, to := range w.overrides {
		if to == loser {
			w.overrides[merged] = survivor
		}
	}
	w.overrides[loser] = survivor
}

func condition(t *rapid.T) (v1alpha1.Operator, []apiextensionsv1.JSON) {
	operator := pick(t, operators)
	var raw []apiextensionsv1.JSON
	add := func(v any) { raw = append(raw, apiextensionsv1.JSON{Raw: []byte(encode(v))}) }
	switch operator {
	case "Exists", "NotExists":
	case "GreaterThan", "AtLeast", "LessThan", "AtMost":
		add(pick(t, numbers))
	case "Before", "After", "On":
		add(pick(t, moments[:11]))
	case "WithinLast", "WithinNext", "BeforeLast", "AfterNext":
		add(pick(t, windows[1:]))
	case "Matches":
		for range rapid.IntRange(1, 2).Draw(t, "patterns") {
			add(pick(t, patterns))
		}
	default:
		for range rapid.IntRange(1, 3).Draw(t, "values") {
			v := scalar(t)
			if operator == "StartsWith" || operator == "EndsWith" {
				v = pick(t, texts)
			}
			if operator != "Equals" && operator != "NotEquals" && v == "" {
				v = "b"
			}
			add(v)
		}
	}
	return operator, raw
}

// question makes a random criterion; others are the audiences that it may ask for.
func question(t *rapid.T, name string, others []string) v1alpha1.Criterion {
	c := v1alpha1.Criterion{Name: name}
	switch kind := rapid.IntRange(0, 9).Draw(t, "criterion"); {
	case kind == 0 && len(others) > 0:
		c.Audience = &v1alpha1.LocalReference{Name: pick(t, others)}
	case kind <= 2:
		operator, raw := condition(t)
		c.Trait = &v1alpha1.TraitCriterion{Name: pick(t, names[1:4]), Operator: operator, Values: raw}
	case kind == 3:
		c.Sample = &v1alpha1.SampleCriterion{Percent: rapid.Int32Range(1, 99).Draw(t, "percent"), Salt: pick(t, []string{"", "s", "it's"})}
	case kind == 4:
		c.Members = &v1alpha1.MembersCriterion{IDs: []string{publicID(who(t)), publicID(who(t) + 4)}}
	case kind <= 6:
		c.Sequence = sequence(t)
	default:
		c.Event = happened(t)
	}
	return c
}

func sequence(t *rapid.T) *v1alpha1.SequenceCriterion {
	s := &v1alpha1.SequenceCriterion{Window: pick(t, []v1alpha1.Duration{"", "1h", "31d"}), Within: pick(t, windows), Strict: chance(t, 2)}
	for range rapid.IntRange(2, 3).Draw(t, "steps") {
		s.Steps = append(s.Steps, v1alpha1.SequenceStep{Name: pick(t, names[:3]), Where: filters(t, 5)})
	}
	return s
}

// filters are up to two conditions, one time in oneIn.
func filters(t *rapid.T, oneIn int) []v1alpha1.PropertyCondition {
	var out []v1alpha1.PropertyCondition
	if !chance(t, oneIn) {
		return nil
	}
	for range rapid.IntRange(1, 2).Draw(t, "where") {
		operator, raw := condition(t)
		out = append(out, v1alpha1.PropertyCondition{Property: pick(t, paths), Operator: operator, Values: raw})
	}
	return out
}

func happened(t *rapid.T) *v1alpha1.EventCriterion {
	e := &v1alpha1.EventCriterion{Name: pick(t, names), Where: filters(t, 2)}
	if chance(t, 3) {
		// One later than the other, as moments and as ages: the millisecond of now is an edge of both.
		e.Between = pick(t, []*v1alpha1.Between{
			{From: "400d", To: "30d"}, {From: "30d", To: "1h"}, {To: "30d"}, {From: "1h"}, {From: "2026-11-23T12:00:00.122Z", To: "2026-11-23T13:00:00.123+01:00"},
			{From: "2026-10-24"}, {To: "2026-11-23T12:00:00.123Z"}, {From: "2026-01-01", To: "30d"}, {From: "400d", To: "2026-11-23T07:00:00.124-05:00"},
		})
	} else {
		e.Within = pick(t, windows)
	}
	low, high := rapid.Int64Range(0, 3).Draw(t, "min"), rapid.Int64Range(0, 4).Draw(t, "max")
	switch rapid.IntRange(0, 3).Draw(t, "count") {
	case 0:
		e.Count = &v1alpha1.Count{Min: &low}
	case 1:
		e.Count = &v1alpha1.Count{Max: &high}
	case 2:
		high += low
		e.Count = &v1alpha1.Count{Min: &low, Max: &high}
	}
	if chance(t, 3) && (e.Count == nil || e.Count.Max == nil || *e.Count.Max > 0) {
		e.Aggregate = &v1alpha1.Aggregate{
			Function: pick(t, []v1alpha1.AggregateFunction{"Sum", "Average", "Min", "Max"}), Property: "n",
			Operator: pick(t, []v1alpha1.Operator{"GreaterThan", "AtLeast", "LessThan", "AtMost"}), Value: apiextensionsv1.JSON{Raw: []byte(encode(pick(t, []float64{0, 0.25, 2, 3.5, -1.5, 100})))},
		}
	}
	return e
}

// match makes a random expression over names, as text and as what it means.
func match(t *rapid.T, names []string, depth int) (string, matches) {
	if depth == 0 || chance(t, 3) {
		name := pick(t, names)
		return name, func(answer func(string) bool) bool { return answer(name) }
	}
	a, isA := match(t, names, depth-1)
	if chance(t, 3) {
		return "!(" + a + ")", func(answer func(string) bool) bool { return !isA(answer) }
	}
	b, isB := match(t, names, depth-1)
	if chance(t, 2) {
		return "(" + a + " && " + b + ")", func(answer func(string) bool) bool { return isA(answer) && isB(answer) }
	}
	return "(" + a + " || " + b + ")", func(answer func(string) bool) bool { return isA(answer) || isB(answer) }
}

// random makes an Audience, valid or not.
func random(t *rapid.T, name string, others []string) (*v1alpha1.Audience, matches) {
	a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	a.Spec.PlatformRef.Name = "shop"
	var names []string
	for i := range rapid.IntRange(1, 4).Draw(t, "criteria") {
		names = append(names, fmt.Sprintf("%s%d", strings.Repeat("c", i+1), i))
		a.Spec.Criteria = append(a.Spec.Criteria, question(t, names[i], others))
	}
	if chance(t, 4) {
		return a, func(answer func(string) bool) bool {
			for _, name := range names {
				if !answer(name) {
					return false
				}
			}
			return true
		}
	}
	var rule matches
	a.Spec.Match, rule = match(t, names, 3)
	return a, rule
}
