package audience

import (
	"fmt"
	"slices"
	"strings"
)

// unset is the beginning of a sequence that has not begun: so long ago that no window reaches it.
const unset = -1 << 62

// sequence gives one row per profile with all steps of a sequence, which is the bit of the given number.
//
// The events of a profile become one row per millisecond with a bit per step that one of them fulfils; as steps happen at
// different moments, more need not be known. Walking over the moments in order, acc[i] is the latest moment at which a
// sequence of i steps that ends by now has begun; the later it began, the more time its window leaves.
func (p Plan) sequence(b Scope, q sequenceQuestion, number int) string {
	var properties keyed[[]string]
	var names, masks []string
	for i, s := range q.Steps {
		tests := append([]string{"event = " + Quote(s.Event)}, conditions(&properties, s.Where, p.At)...)
		masks = append(masks, fmt.Sprintf("bitShiftLeft(toUInt8(%s), %d)", and(tests), i))
		names = append(names, s.Event)
	}
	slices.Sort(names)
	tests := append([]string{"event IN (" + quoteAll(slices.Compact(names)) + ")", "occurred <= " + Moment(p.At)}, q.Span.tests(p.At)...)
	rows := "SELECT profile, occurred, " + strings.Join(masks, " + ") + " AS steps\n  FROM (SELECT profile, event, occurred" + extracted(properties) +
		" FROM events WHERE " + and(append(tests, b.filter())) + ")"
	if !q.Strict {
		rows += " WHERE steps != 0"
	}
	moments := "SELECT p, ms, groupBitOr(steps) AS steps\nFROM (\n" +
		resolve("toUnixTimestamp64Milli(e.occurred) AS ms, e.steps AS steps", rows) + "\n)\nGROUP BY p, ms"
	n := len(q.Steps)
	found := fmt.Sprintf("arrayFold((acc, x) -> %s, arraySort(groupArray((ms, steps))), [%s])[%d] > %d",
		q.walk(), strings.TrimSuffix(strings.Repeat(fmt.Sprintf("toInt64(%d), ", unset), n), ", "), n, unset)
	return fmt.Sprintf("SELECT p, %s\nFROM (SELECT p, %s AS found FROM (\n%s\n) GROUP BY p HAVING groupBitOr(steps) = %d)",
		p.columns.only(number, "found"), found, moments, 1<<n-1)
}

// walk is the next acc at the moment x.1 with the steps x.2.
func (q sequenceQuestion) walk() string {
	out := make([]string, len(q.Steps))
	for i := range q.Steps {
		last := i == len(q.Steps)-1
		begun, met := "x.1", fmt.Sprintf("bitTest(x.2, %d)", i)
		if i > 0 {
			begun = fmt.Sprintf("acc[%d]", i)
			met += fmt.Sprintf(" AND %s > %d", begun, unset)
			if q.Window > 0 {
				met += fmt.Sprintf(" AND x.1 - %s <= %d", begun, q.Window.Milliseconds())
			}
		}
		kept := fmt.Sprintf("acc[%d]", i+1)
		if q.Strict && !last {
			kept = fmt.Sprintf("toInt64(%d)", unset) // what is between two steps ends the sequence
		}
		out[i] = fmt.Sprintf("if(%s, %s, %s)", met, begun, kept)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
