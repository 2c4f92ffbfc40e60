package audience

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
)

// question is a criterion that was read and found sound. Exactly one of event, trait and audience is set.
type question struct {
	name     string
	event    *eventQuestion
	trait    *traitQuestion
	audience string
}

// eventQuestion counts events. What is counted and how many are needed are apart, so that audiences that want different
// counts of the same share one column.
type eventQuestion struct {
	counted counted
	min     int64
	max     *int64
}

// counted says which events of a profile count.
type counted struct {
	Event  string        `json:"e"`
	Within time.Duration `json:"w,omitempty"` // 0: for ever
	Where  []where       `json:"if,omitempty"`
}

type where struct {
	Path []string `json:"p"`
	condition
}

type traitQuestion struct {
	Trait string `json:"t"`
	condition
}

// empty is the answer for a profile that nothing is known of.
func (q question) empty() bool {
	switch {
	case q.event != nil:
		return q.event.min == 0
	case q.trait != nil:
		return q.trait.Negated
	default:
		return false
	}
}

// definition is the whole rule of an Audience, sound in itself; the audiences it refers to are not looked at.
type definition struct {
	name      string
	questions []question
	rule      rule
}

// read takes an Audience's spec apart and checks everything that needs no other object.
func read(a *v1alpha1.Audience) (definition, error) {
	d := definition{name: a.Name}
	if len(a.Spec.Criteria) == 0 {
		return d, invalid("spec.criteria", "an audience needs at least one criterion")
	}
	answers := make(map[string]bool, len(a.Spec.Criteria))
	names := make([]string, 0, len(a.Spec.Criteria))
	for _, c := range a.Spec.Criteria {
		field := "spec.criteria[" + c.Name + "]"
		if _, twice := answers[c.Name]; twice {
			return d, invalid(field, "two criteria have this name; rename one")
		}
		q, err := readCriterion(field, c)
		if err != nil {
			return d, err
		}
		d.questions = append(d.questions, q)
		answers[c.Name] = q.empty()
		names = append(names, c.Name)
	}
	d.rule = everyOf(names)
	if a.Spec.Match != "" {
		var err error
		if d.rule, err = parseMatch(a.Spec.Match, names); err != nil {
			return d, err
		}
	}
	if d.rule.holds(func(name string) bool { return answers[name] }) {
		return d, negative(a)
	}
	return d, nil
}

// negative refuses a rule that somebody who was never seen satisfies.
func negative(a *v1alpha1.Audience) error {
	field := "spec.criteria"
	if a.Spec.Match != "" {
		field = matchField
	}
	return invalid(field, "the rule says only what a customer has not done or is not, so it also holds for everybody who was never seen; "+
		"combine it with something that members did or are, such as an event criterion with count {min: 1}, a trait that Exists, or an audience")
}

func readCriterion(field string, c v1alpha1.Criterion) (question, error) {
	q := question{name: c.Name}
	set := 0
	var err error
	if c.Event != nil {
		set++
		q.event, err = readEvent(field+".event", c.Event)
	}
	if c.Trait != nil && err == nil {
		set++
		q.trait, err = readTrait(field+".trait", c.Trait)
	}
	if c.Audience != nil && err == nil {
		set++
		q.audience = c.Audience.Name
		if q.audience == "" {
			err = invalid(field+".audience.name", "the name of an Audience is needed")
		}
	}
	if err == nil && set != 1 {
		err = invalid(field, "exactly one of event, trait and audience is needed")
	}
	return q, err
}

func readEvent(field string, e *v1alpha1.EventCriterion) (*eventQuestion, error) {
	if e.Name == "" {
		return nil, invalid(field+".name", "the name of an event is needed")
	}
	q := &eventQuestion{counted: counted{Event: e.Name}, min: 1}
	if e.Count != nil {
		if e.Count.Min == nil && e.Count.Max == nil {
			return nil, invalid(field+".count", "min or max is needed")
		}
		q.min, q.max = 0, e.Count.Max
		if e.Count.Min != nil {
			q.min = *e.Count.Min
		}
		if q.min < 0 || q.max != nil && *q.max < q.min {
			return nil, invalid(field+".count", "0 <= min <= max is needed")
		}
	}
	if e.Within != "" {
		within, err := readDuration(field+".within", e.Within)
		if err != nil {
			return nil, err
		}
		q.counted.Within = within
	}
	for i, w := range e.Where {
		at := fmt.Sprintf("%s.where[%d]", field, i)
		path, err := readPath(at+".property", w.Property)
		if err != nil {
			return nil, err
		}
		c, err := readCondition(at, w.Operator, w.Values)
		if err != nil {
			return nil, err
		}
		q.counted.Where = append(q.counted.Where, where{Path: path, condition: c})
	}
	return q, nil
}

func readTrait(field string, t *v1alpha1.TraitCriterion) (*traitQuestion, error) {
	if t.Name == "" {
		return nil, invalid(field+".name", "the name of a trait is needed")
	}
	c, err := readCondition(field, t.Operator, t.Values)
	if err != nil {
		return nil, err
	}
	return &traitQuestion{Trait: t.Name, condition: c}, nil
}

func readDuration(field string, text v1alpha1.Duration) (time.Duration, error) {
	d, err := model.ParseDuration(string(text))
	if err != nil {
		return 0, invalid(field, "%q is no duration; write one such as 15m, 36h, 90d or 1y", text)
	}
	if d <= 0 {
		return 0, invalid(field, "a duration must be longer than nothing; leave it out to look back for ever")
	}
	return time.Duration(d), nil
}

// Definition is the text of the rule that decides who is a member: criteria and match, without what happens to the
// members afterwards. Two equal texts have the same members on the same data.
func Definition(a *v1alpha1.Audience) string {
	text, err := json.Marshal(struct {
		Criteria []v1alpha1.Criterion `json:"criteria"`
		Match    string               `json:"match,omitempty"`
	}{a.Spec.Criteria, a.Spec.Match})
	if err != nil { // values hold JSON that is not JSON; Validate has refused it before
		return ""
	}
	return string(text)
}
