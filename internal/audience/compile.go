package audience

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
)

// Plan is the evaluation of some Audiences of one Platform at one moment.
type Plan struct {
	// At is the moment, in UTC and whole milliseconds: windows end at it, and later events do not count.
	At time.Time
	// Audiences in the order that their numbers in the members' statement count, from 1. An Audience stands after those
	// that it asks for.
	Audiences []Planned

	columns columns
	rules   []string // SQL of each Audience's rule over the columns
	levels  []int    // of each Audience: above those it asks for, from 0
}

// Planned is one Audience of a Plan.
type Planned struct {
	Name       string
	Generation int64
	Definition string // see [Definition]
}

// columns are the distinct things that the criteria of a plan ask for. Each is answered by one bit, 0 for a profile that
// nothing is known of, so that a hundred audiences are a handful of words per profile and not hundreds of columns.
type columns struct {
	bits     keyed[bit]
	measures keyed[measure] // c0…: numbers made of a profile's events
	traits   keyed[string]  // v0…: the latest value of a trait, as JSON
}

// bit is one thing asked. Exactly one of its fields is set.
type bit struct {
	Event    *eventBit         `json:"c,omitempty"`
	Sequence *sequenceQuestion `json:"s,omitempty"`
	Trait    *traitQuestion    `json:"t,omitempty"` // never negated
	Audience string            `json:"a,omitempty"` // whether a profile is a stored member of an audience outside the plan
	Members  []string          `json:"m,omitempty"`
}

// eventBit says whether a count lies in a range, or, when 0 does, whether it lies outside; and how an aggregate compares.
type eventBit struct {
	Column    int           `json:"i"` // of columns.measures
	Min       int64         `json:"min"`
	Max       *int64        `json:"max,omitempty"`
	Outside   bool          `json:"out,omitempty"`
	Aggregate *aggregateBit `json:"agg,omitempty"`
}

// aggregateBit compares the aggregate in Column with Value; there must be a number among Numbers.
type aggregateBit struct {
	Column   int               `json:"i"`
	Numbers  int               `json:"n"`
	Average  bool              `json:"avg,omitempty"` // Column is the sum
	Operator v1alpha1.Operator `json:"op"`
	Value    float64           `json:"v"`
}

// measure is one number made of the events that count, such that the measures of several profiles that were merged make
// the one of all of them.
type measure struct {
	counted
	Kind measureKind `json:"k,omitempty"`
	Path []string    `json:"of,omitempty"` // of the property; none for counting
}

type measureKind string

const (
	countEvents  measureKind = ""
	countNumbers measureKind = "n"
	sumNumbers   measureKind = "sum"
	minNumber    measureKind = "min"
	maxNumber    measureKind = "max"
)

// keyed is a set whose members keep the order they came in.
type keyed[T any] struct {
	items []T
	index map[string]int
}

// number adds an item unless an equal one is there, and gives its place.
func (k *keyed[T]) number(item T) int {
	text, err := json.Marshal(item)
	if err != nil { // texts, numbers and booleans always encode
		panic(err)
	}
	if i, ok := k.index[string(text)]; ok {
		return i
	}
	if k.index == nil {
		k.index = map[string]int{}
	}
	k.index[string(text)] = len(k.items)
	k.items = append(k.items, item)
	return len(k.items) - 1
}

// Compile plans the evaluation of the due Audiences of one Platform. An Audience that a due one asks for and that is not
// due itself is answered by its stored members. Every due Audience must be valid (see [Validate]); the error names the
// one that is not and wraps an [*Invalid].
func Compile(due []*v1alpha1.Audience, now time.Time) (Plan, error) {
	plan := Plan{At: now.UTC().Truncate(time.Millisecond)}
	ordered, err := inOrder(due)
	if err != nil {
		return Plan{}, err
	}
	number := make(map[string]int, len(ordered))
	for i, a := range ordered {
		d, err := read(a)
		if err != nil {
			return Plan{}, fmt.Errorf("compiling Audience %s: %w", a.Name, err)
		}
		answers := make(map[string]string, len(d.questions))
		level := 0
		for _, q := range d.questions {
			answers[q.name] = plan.columns.answer(q, number)
			if below, planned := number[q.audience]; planned {
				level = max(level, plan.levels[below]+1)
			}
		}
		plan.levels = append(plan.levels, level)
		plan.rules = append(plan.rules, d.rule.sql(answers))
		plan.Audiences = append(plan.Audiences, Planned{Name: a.Name, Generation: a.Generation, Definition: Definition(a)})
		number[a.Name] = i
	}
	return plan, nil
}

// inOrder sorts audiences by name and then so that each stands after those it asks for.
func inOrder(due []*v1alpha1.Audience) ([]*v1alpha1.Audience, error) {
	byName := make(map[string]*v1alpha1.Audience, len(due))
	names := make([]string, 0, len(due))
	for _, a := range due {
		byName[a.Name] = a
		names = append(names, a.Name)
	}
	slices.Sort(names)
	const open, done = 1, 2
	state := make(map[string]int, len(due))
	var ordered []*v1alpha1.Audience
	var visit func(name string) error
	visit = func(name string) error {
		a := byName[name]
		switch {
		case a == nil || state[name] == done:
			return nil
		case state[name] == open:
			return fmt.Errorf("compiling Audience %s: %w", name, invalid("spec.criteria", "audiences refer to each other in a circle"))
		}
		state[name] = open
		for _, reference := range References(a) {
			if err := visit(reference); err != nil {
				return err
			}
		}
		state[name] = done
		ordered = append(ordered, a)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// answer is the SQL of a criterion over the bits of a profile; number holds the audiences already planned.
func (c *columns) answer(q question, number map[string]int) string {
	switch {
	case q.event != nil:
		asked := &eventBit{Column: c.measures.number(measure{counted: q.event.counted}), Min: q.event.min, Max: q.event.max}
		asked.Outside = q.empty() == yes
		if q.event.aggregate != nil {
			asked.Aggregate = c.aggregate(q.event)
		}
		return c.read(bit{Event: asked}, asked.Outside)
	case q.sequence != nil:
		return c.read(bit{Sequence: q.sequence}, false)
	case q.trait != nil:
		positive := *q.trait
		positive.Negated = false
		c.traits.number(positive.Trait)
		return c.read(bit{Trait: &positive}, q.trait.Negated)
	case q.sample != nil:
		return InSample("profile", q.sample.salt, q.sample.percent)
	case q.members != nil:
		return c.read(bit{Members: q.members}, false)
	default:
		if i, planned := number[q.audience]; planned {
			return fmt.Sprintf("m%d", i)
		}
		return c.read(bit{Audience: q.audience}, false)
	}
}

func (c *columns) aggregate(q *eventQuestion) *aggregateBit {
	of := func(kind measureKind) int {
		return c.measures.number(measure{counted: q.counted, Kind: kind, Path: q.aggregate.path})
	}
	out := &aggregateBit{Numbers: of(countNumbers), Operator: q.aggregate.operator, Value: q.aggregate.value}
	switch q.aggregate.function {
	case v1alpha1.AggregateMin:
		out.Column = of(minNumber)
	case v1alpha1.AggregateMax:
		out.Column = of(maxNumber)
	default:
		out.Column, out.Average = of(sumNumbers), q.aggregate.function == v1alpha1.AggregateAverage
	}
	return out
}

// InSample is the SQL that says whether a profile belongs to the part of all that a salt and a percentage choose. The hash
// is XXH64 of "salt:ordinal"; it must never change, for experiments rest on it.
func InSample(profile, salt string, percent int32) string {
	return fmt.Sprintf("xxHash64(concat(%s, toString(%s))) %% 100 < %d", Quote(salt+":"), profile, percent)
}

// read is the SQL of a bit, or of its opposite.
func (c *columns) read(b bit, negated bool) string {
	i := c.bits.number(b)
	test := fmt.Sprintf("bitTest(w%d, %d)", i/wordBits, i%wordBits)
	if negated {
		return "(NOT " + test + ")"
	}
	return test
}

// sql writes the rule over the answers of its criteria.
func (r rule) sql(answers map[string]string) string {
	switch r.op {
	case criterion:
		return answers[r.name]
	case not:
		return "(NOT " + r.args[0].sql(answers) + ")"
	}
	word := " AND "
	if r.op == either {
		word = " OR "
	}
	args := make([]string, len(r.args))
	for i, arg := range r.args {
		args[i] = arg.sql(answers)
	}
	return "(" + strings.Join(args, word) + ")"
}
