package audience

import (
	"encoding/json"
	"time"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
)

// question is a criterion that was read and found sound. Exactly one of its kinds is set.
type question struct {
	name     string
	event    *eventQuestion
	sequence *sequenceQuestion
	trait    *traitQuestion
	audience string
	sample   *sampleQuestion
	members  []string // public ids of profiles, sorted
}

// eventQuestion counts events. What is counted and how many are needed are apart, so that audiences that want different
// counts of the same share one column.
type eventQuestion struct {
	counted   counted
	min       int64
	max       *int64
	aggregate *aggregateQuestion
}

// counted says which events of a profile count.
type counted struct {
	Event string  `json:"e"`
	Span  span    `json:"s,omitzero"`
	Where []where `json:"if,omitempty"`
}

type where struct {
	Path []string `json:"p"`
	condition
}

// aggregateQuestion compares an aggregate of a property with a number.
type aggregateQuestion struct {
	function v1alpha1.AggregateFunction
	path     []string
	operator v1alpha1.Operator
	value    float64
}

// sequenceQuestion asks for events one after the other.
type sequenceQuestion struct {
	Steps  []step        `json:"s"`
	Window time.Duration `json:"w,omitempty"` // 0: any
	Span   span          `json:"in,omitzero"`
	Strict bool          `json:"st,omitempty"`
}

type step struct {
	Event string  `json:"e"`
	Where []where `json:"if,omitempty"`
}

type traitQuestion struct {
	Trait string `json:"t"`
	condition
}

type sampleQuestion struct {
	percent int32
	salt    string
}

// empty is the answer for a profile that nothing is known of.
func (q question) empty() answer {
	switch {
	case q.event != nil:
		return yesOrNo(q.event.min == 0 && q.event.aggregate == nil)
	case q.trait != nil:
		return yesOrNo(q.trait.Negated)
	case q.sample != nil:
		return maybe
	default:
		return no
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
	answers := make(map[string]answer, len(a.Spec.Criteria))
	names := make([]string, 0, len(a.Spec.Criteria))
	for _, c := range a.Spec.Criteria {
		field := "spec.criteria[" + c.Name + "]"
		if _, twice := answers[c.Name]; twice {
			return d, invalid(field, "two criteria have this name; rename one")
		}
		q, err := readCriterion(field, a.Name, c)
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
	if d.rule.possible(func(name string) answer { return answers[name] }) != no {
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
	return invalid(field, "the rule says only what a customer has not done or is not, or asks for a sample alone, so it also holds for everybody who was never seen; "+
		"combine it with something that members did or are, such as an event criterion with count {min: 1}, a trait that Exists, or an audience")
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
