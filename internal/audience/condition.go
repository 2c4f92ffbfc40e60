package audience

import (
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
	default:
		return condition{}, invalid(field+".operator", "unknown operator %q", operator)
	}
	return c, c.checkTexts(at, operator)
}

// checkTexts refuses values that an operator on texts cannot mean.
func (c condition) checkTexts(at string, written v1alpha1.Operator) error {
	switch c.Operator {
	case v1alpha1.OperatorStartsWith, v1alpha1.OperatorEndsWith:
		if len(c.Values.Numbers)+len(c.Values.Bools) > 0 {
			return invalid(at, "%s compares texts; put the value in quotes", written)
		}
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
