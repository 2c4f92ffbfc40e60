package audience

import (
	"regexp"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
)

// condition compares one JSON value with values. Only operators that are false for a value that is not there are left
// in it: NotEquals, NotContains and NotExists are the negation of their opposites, so that a question and its opposite
// are computed once, and an empty profile needs no row to answer.
type condition struct {
	Operator v1alpha1.Operator `json:"op"`
	Values   values            `json:"v"`
	Negated  bool              `json:"not,omitempty"`
}

var opposite = map[v1alpha1.Operator]v1alpha1.Operator{
	v1alpha1.OperatorNotEquals:   v1alpha1.OperatorEquals,
	v1alpha1.OperatorNotContains: v1alpha1.OperatorContains,
	v1alpha1.OperatorNotExists:   v1alpha1.OperatorExists,
}

// readCondition checks an operator and its values; field is the path of the object that holds both.
func readCondition(field string, operator v1alpha1.Operator, raw []apiextensionsv1.JSON) (condition, error) {
	at := field + ".values"
	v, err := readValues(at, raw)
	if err != nil {
		return condition{}, err
	}
	c := condition{Operator: operator, Values: v}
	if positive, ok := opposite[operator]; ok {
		c.Operator, c.Negated = positive, true
	}
	switch c.Operator {
	case v1alpha1.OperatorExists:
		if len(raw) > 0 {
			return condition{}, invalid(at, "%s takes no values; leave them out", operator)
		}
		return c, nil
	case v1alpha1.OperatorEquals, v1alpha1.OperatorContains, v1alpha1.OperatorStartsWith, v1alpha1.OperatorEndsWith:
		if len(raw) == 0 {
			return condition{}, invalid(at, "%s needs at least one value", operator)
		}
	case v1alpha1.OperatorGreaterThan, v1alpha1.OperatorAtLeast, v1alpha1.OperatorLessThan, v1alpha1.OperatorAtMost:
		if len(raw) != 1 || len(v.Numbers) != 1 {
			return condition{}, invalid(at, "%s compares with exactly one number", operator)
		}
	case v1alpha1.OperatorMatches:
		if len(raw) == 0 || len(v.Texts) == 0 {
			return condition{}, invalid(at, "%s needs at least one regular expression", operator)
		}
	case v1alpha1.OperatorBefore, v1alpha1.OperatorAfter, v1alpha1.OperatorOn,
		v1alpha1.OperatorWithinLast, v1alpha1.OperatorWithinNext, v1alpha1.OperatorBeforeLast, v1alpha1.OperatorAfterNext:
		return c.withTime(at, operator)
	default:
		return condition{}, invalid(field+".operator", "unknown operator %q", operator)
	}
	return c, c.checkTexts(at, operator)
}

// withTime reads the one value of an operator on time.
func (c condition) withTime(at string, written v1alpha1.Operator) (condition, error) {
	v := c.Values
	c.Values = values{}
	if len(v.Texts) != 1 || len(v.Numbers)+len(v.Bools) > 0 {
		return c, invalid(at, "%s takes exactly one value, a text; put it in quotes", written)
	}
	switch written {
	case v1alpha1.OperatorBefore, v1alpha1.OperatorAfter, v1alpha1.OperatorOn:
		t, ok := readMoment(v.Texts[0])
		if !ok {
			return c, invalid(at, "%q is no date; write one such as 2026-01-31 or 2026-01-31T12:00:00+01:00, of the years 1900 to 2299", v.Texts[0])
		}
		c.Values.Moment = &t
		return c, nil
	default:
		var err error
		c.Values.Age, err = readDuration(at, v1alpha1.Duration(v.Texts[0]))
		return c, err
	}
}

// longestPattern of a regular expression, in bytes.
const longestPattern = 256

// checkTexts refuses values that an operator on texts cannot mean.
func (c condition) checkTexts(at string, written v1alpha1.Operator) error {
	switch c.Operator {
	case v1alpha1.OperatorStartsWith, v1alpha1.OperatorEndsWith:
		if len(c.Values.Numbers)+len(c.Values.Bools) > 0 {
			return invalid(at, "%s compares texts; put the value in quotes", written)
		}
	case v1alpha1.OperatorMatches:
		return checkPatterns(at, c.Values)
	case v1alpha1.OperatorContains:
	default:
		return nil
	}
	for _, text := range c.Values.Texts {
		if text == "" {
			return invalid(at, "every text holds the empty text; ask with operator Exists instead of %s \"\"", written)
		}
	}
	return nil
}

// checkPatterns lets through what both Go and the warehouse, which use the same syntax (RE2), can match in linear time.
func checkPatterns(at string, v values) error {
	if len(v.Numbers)+len(v.Bools) > 0 {
		return invalid(at, "a regular expression is a text; put the value in quotes")
	}
	for _, pattern := range v.Texts {
		if len(pattern) > longestPattern {
			return invalid(at, "a regular expression has at most %d bytes; write several values", longestPattern)
		}
		if _, err := regexp.Compile(pattern); err != nil {
			return invalid(at, "%v; the syntax is RE2's, without look-around and back-references", err)
		}
	}
	return nil
}

// readPath splits a property's path at its dots.
func readPath(field, property string) ([]string, error) {
	path := strings.Split(property, ".")
	for _, part := range path {
		if part == "" {
			return nil, invalid(field, "%q has an empty part; write a path such as \"total\" or \"cart.total\"", property)
		}
	}
	return path, nil
}
