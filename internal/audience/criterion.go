package audience

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kohort.dev/kohort/api/v1alpha1"
)

// readCriterion takes one criterion of the named Audience apart.
func readCriterion(field, audience string, c v1alpha1.Criterion) (question, error) {
	q := question{name: c.Name}
	set := 0
	var err error
	read := func(is bool, take func() error) {
		if is && err == nil {
			set++
			err = take()
		}
	}
	read(c.Event != nil, func() (err error) { q.event, err = readEvent(field+".event", c.Event); return err })
	read(c.Sequence != nil, func() (err error) { q.sequence, err = readSequence(field+".sequence", c.Sequence); return err })
	read(c.Trait != nil, func() (err error) { q.trait, err = readTrait(field+".trait", c.Trait); return err })
	read(c.Sample != nil, func() (err error) { q.sample, err = readSample(field+".sample", audience, c.Sample); return err })
	read(c.Members != nil, func() (err error) { q.members, err = readMembers(field+".members", c.Members); return err })
	read(c.Audience != nil, func() error {
		if q.audience = c.Audience.Name; q.audience == "" {
			return invalid(field+".audience.name", "the name of an Audience is needed")
		}
		return nil
	})
	if err == nil && set != 1 {
		err = invalid(field, "exactly one of event, sequence, trait, audience, sample and members is needed")
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
	var err error
	if q.counted.Span, err = readSpan(field, e.Within, e.Between); err != nil {
		return nil, err
	}
	if q.counted.Where, err = readWhere(field, e.Where); err != nil {
		return nil, err
	}
	if e.Aggregate != nil {
		if q.max != nil && *q.max == 0 {
			return nil, invalid(field+".aggregate", "there is nothing to aggregate where count.max is 0; leave one of the two out")
		}
		q.aggregate, err = readAggregate(field+".aggregate", e.Aggregate)
	}
	return q, err
}

func readWhere(field string, conditions []v1alpha1.PropertyCondition) ([]where, error) {
	var out []where
	for i, w := range conditions {
		at := fmt.Sprintf("%s.where[%d]", field, i)
		path, err := readPath(at+".property", w.Property)
		if err != nil {
			return nil, err
		}
		c, err := readCondition(at, w.Operator, w.Values)
		if err != nil {
			return nil, err
		}
		out = append(out, where{Path: path, condition: c})
	}
	return out, nil
}

func readAggregate(field string, a *v1alpha1.Aggregate) (*aggregateQuestion, error) {
	switch a.Function {
	case v1alpha1.AggregateSum, v1alpha1.AggregateAverage, v1alpha1.AggregateMin, v1alpha1.AggregateMax:
	default:
		return nil, invalid(field+".function", "unknown function %q; write Sum, Average, Min or Max", a.Function)
	}
	path, err := readPath(field+".property", a.Property)
	if err != nil {
		return nil, err
	}
	switch a.Operator {
	case v1alpha1.OperatorGreaterThan, v1alpha1.OperatorAtLeast, v1alpha1.OperatorLessThan, v1alpha1.OperatorAtMost:
	default:
		return nil, invalid(field+".operator", "%q does not compare numbers; write GreaterThan, AtLeast, LessThan or AtMost", a.Operator)
	}
	value, err := readOne(field+".value", a.Value)
	if err != nil {
		return nil, err
	}
	if len(value.Numbers) != 1 {
		return nil, invalid(field+".value", "a number is needed")
	}
	return &aggregateQuestion{function: a.Function, path: path, operator: a.Operator, value: value.Numbers[0]}, nil
}

// maxSteps of a sequence.
const maxSteps = 8

func readSequence(field string, s *v1alpha1.SequenceCriterion) (*sequenceQuestion, error) {
	if len(s.Steps) < 2 || len(s.Steps) > maxSteps {
		return nil, invalid(field+".steps", "a sequence has 2 to %d steps; for one step write an event criterion", maxSteps)
	}
	q := &sequenceQuestion{Strict: s.Strict}
	var err error
	if s.Window != "" {
		if q.Window, err = readDuration(field+".window", s.Window); err != nil {
			return nil, err
		}
	}
	if q.Span, err = readSpan(field, s.Within, nil); err != nil {
		return nil, err
	}
	for i, one := range s.Steps {
		at := fmt.Sprintf("%s.steps[%d]", field, i)
		if one.Name == "" {
			return nil, invalid(at+".name", "the name of an event is needed")
		}
		where, err := readWhere(at, one.Where)
		if err != nil {
			return nil, err
		}
		q.Steps = append(q.Steps, step{Event: one.Name, Where: where})
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

func readSample(field, audience string, s *v1alpha1.SampleCriterion) (*sampleQuestion, error) {
	if s.Percent < 1 || s.Percent > 99 {
		return nil, invalid(field+".percent", "a whole number from 1 to 99 is needed")
	}
	q := &sampleQuestion{percent: s.Percent, salt: s.Salt}
	if q.salt == "" {
		q.salt = audience
	}
	return q, nil
}

var profileID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func readMembers(field string, m *v1alpha1.MembersCriterion) ([]string, error) {
	if len(m.IDs) == 0 {
		return nil, invalid(field+".ids", "the id of at least one profile is needed")
	}
	var ids []string
	for i, id := range m.IDs {
		if !profileID.MatchString(id) {
			return nil, invalid(fmt.Sprintf("%s.ids[%d]", field, i), "this is no id of a profile; kohort profile get shows it")
		}
		ids = append(ids, strings.ToLower(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
