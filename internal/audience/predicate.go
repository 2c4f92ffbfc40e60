package audience

import (
	"fmt"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
)

// property is the SQL of one property of an event, as JSON text; empty when it is not there. It is the only place that
// knows how properties are stored.
func property(path []string) string {
	return "JSONExtractRaw(properties, " + quoteAll(path) + ")"
}

// trait is the SQL of a trait's value as JSON text, from the column that holds it.
func trait(column string) string { return "JSONExtractRaw(" + column + ")" }

// predicate is the SQL that compares a JSON text with the values of a condition. It is 0 or 1, never NULL, and 0 for
// what is not there; c.Negated is not looked at. at is the moment of the evaluation.
func predicate(json string, c condition, at time.Time) string {
	switch c.Operator {
	case v1alpha1.OperatorExists:
		return "(" + json + " NOT IN ('', 'null'))"
	case v1alpha1.OperatorEquals:
		return equals(json, c.Values)
	case v1alpha1.OperatorContains:
		return contains(json, c.Values)
	case v1alpha1.OperatorStartsWith:
		return anyText(json, c.Values.Texts, func(text, value string) string { return "startsWith(" + text + ", " + value + ")" })
	case v1alpha1.OperatorEndsWith:
		return anyText(json, c.Values.Texts, func(text, value string) string { return "endsWith(" + text + ", " + value + ")" })
	case v1alpha1.OperatorMatches:
		// (?-s): the warehouse lets a dot match the end of a line unless it is told not to.
		return anyText(json, c.Values.Texts, func(text, value string) string { return "match(" + text + ", concat('(?-s)', " + value + "))" })
	case v1alpha1.OperatorGreaterThan, v1alpha1.OperatorAtLeast, v1alpha1.OperatorLessThan, v1alpha1.OperatorAtMost:
		return "(" + isNumber(json) + " AND JSONExtractFloat(" + json + ") " + comparison(c.Operator) + " " + float(c.Values.Numbers[0]) + ")"
	default:
		return timely(json, c, at)
	}
}

// timely is the predicate of an operator on time.
func timely(json string, c condition, at time.Time) string {
	var lower, upper int64 // the moments that match: from lower on, before upper
	now, age := at.UnixMilli(), c.Values.Age.Milliseconds()
	const beginning, end = -1 << 50, 1 << 50
	switch c.Operator {
	case v1alpha1.OperatorBefore:
		lower, upper = beginning, *c.Values.Moment
	case v1alpha1.OperatorAfter:
		lower, upper = *c.Values.Moment+1, end
	case v1alpha1.OperatorOn:
		lower, upper = *c.Values.Moment, *c.Values.Moment+(24*time.Hour).Milliseconds()
	case v1alpha1.OperatorWithinLast:
		lower, upper = now-age+1, now+1
	case v1alpha1.OperatorWithinNext:
		lower, upper = now+1, now+age+1
	case v1alpha1.OperatorBeforeLast:
		lower, upper = beginning, now-age+1
	default: // AfterNext
		lower, upper = now+age+1, end
	}
	return fmt.Sprintf("ifNull(%s BETWEEN %d AND %d, 0)", momentOf(json), lower, upper-1)
}

// momentOf is a JSON text as milliseconds since 1970, NULL when it is no moment.
func momentOf(json string) string {
	text := "JSONExtractString(" + json + ")"
	return "if(" + isText(json) + " AND match(" + text + ", " + Quote(momentPattern) + ") AND toString(toDate32OrNull(substring(" + text + ", 1, 10))) = substring(" + text + ", 1, 10), " +
		"toUnixTimestamp64Milli(parseDateTime64BestEffortOrNull(" + text + ", 3, 'UTC')), NULL)"
}

func comparison(operator v1alpha1.Operator) string {
	switch operator {
	case v1alpha1.OperatorGreaterThan:
		return ">"
	case v1alpha1.OperatorAtLeast:
		return ">="
	case v1alpha1.OperatorLessThan:
		return "<"
	default:
		return "<="
	}
}

// The first byte of a JSON text tells its type.
func isText(json string) string   { return "startsWith(" + json + `, '"')` }
func isList(json string) string   { return "startsWith(" + json + ", '[')" }
func isNumber(json string) string { return "(substring(" + json + ", 1, 1) BETWEEN '-' AND '9')" }

// equals is true for a JSON text that is any of values, of the same type.
func equals(json string, v values) string {
	var ors []string
	if len(v.Texts) > 0 {
		ors = append(ors, "("+isText(json)+" AND JSONExtractString("+json+") IN ("+quoteAll(v.Texts)+"))")
	}
	if len(v.Numbers) > 0 {
		numbers := make([]string, len(v.Numbers))
		for i, n := range v.Numbers {
			numbers[i] = float(n)
		}
		ors = append(ors, "("+isNumber(json)+" AND JSONExtractFloat("+json+") IN ("+strings.Join(numbers, ", ")+"))")
	}
	for _, b := range v.Bools {
		text := "'false'"
		if b {
			text = "'true'"
		}
		ors = append(ors, "("+json+" = "+text+")")
	}
	return "(" + strings.Join(ors, " OR ") + ")"
}

// contains is true for a text with any of the texts in it, and for a list with any of values among its elements.
func contains(json string, v values) string {
	list := "(" + isList(json) + " AND arrayExists(e -> " + equals("e", v) + ", JSONExtractArrayRaw(" + json + ")))"
	if len(v.Texts) == 0 {
		return list
	}
	text := anyText(json, v.Texts, func(text, value string) string { return "position(" + text + ", " + value + ") > 0" })
	return "(" + list + " OR " + text + ")"
}

func anyText(json string, texts []string, test func(text, value string) string) string {
	tests := make([]string, len(texts))
	for i, text := range texts {
		tests[i] = test("JSONExtractString("+json+")", Quote(text))
	}
	return "(" + isText(json) + " AND (" + strings.Join(tests, " OR ") + "))"
}
