package audience

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The same as profile.Join and profile.Root, which this package does not use because they come with a client of the
// warehouse. Ordinals begin at 1, so a survivor of 0, which the join makes up, is a profile that was never merged.
const (
	join = "LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = e.profile"
	root = "if(o.survivor = 0, e.profile, o.survivor) AS p"
)

// earliest is the first moment that DateTime64 can hold.
var earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

// Members is the statement that gives one row (audience UInt16, profile UInt64) per member in the scope: the number of
// the Audience in p.Audiences, from 1, and the surviving profile's ordinal.
//
// It reads each row once, and once more for each sequence that asks for its event. Events are counted by the profile they were written with, in the order they are stored in, and
// only the counts are carried over to the surviving profile; traits and stored memberships join by UNION ALL of partial
// rows. A profile without any row has no rule that holds (see [Validate]), so none is missed.
func (p Plan) Members(b Scope) string {
	from := "SELECT p AS profile" + p.columns.merged() +
		"\nFROM (\n" + strings.Join(p.parts(b), "\nUNION ALL\n") + "\n)" + b.where("p") + "\nGROUP BY p"
	// Rules of one level are columns of one SELECT over those of the level below, so that an audience that others ask for
	// is computed once.
	for level := 0; slices.Contains(p.levels, level); level++ {
		rules := []string{"*"}
		for i, rule := range p.rules {
			if p.levels[i] == level {
				rules = append(rules, fmt.Sprintf("%s AS m%d", rule, i))
			}
		}
		from = "SELECT " + strings.Join(rules, ", ") + " FROM (\n" + from + "\n)"
	}
	numbers := make([]string, len(p.rules))
	for i := range p.rules {
		numbers[i] = fmt.Sprintf("if(m%d, %d, 0)", i, i+1)
	}
	return "SELECT toUInt16(arrayJoin(arrayFilter(n -> n > 0, [" + strings.Join(numbers, ", ") + "]))) AS audience, profile\nFROM (\n" + from + "\n)"
}

// wordBits of a UInt64.
const wordBits = 64

func (c *columns) words() int { return (len(c.bits.items) + wordBits - 1) / wordBits }

// merged are the words of the whole profile over the partial rows.
func (c *columns) merged() string {
	var out strings.Builder
	for i := range c.words() {
		fmt.Fprintf(&out, ", groupBitOr(w%d) AS w%d", i, i)
	}
	return out.String()
}

// partial writes the words of a partial row: the bits that test gives SQL for, all others 0.
func (c *columns) partial(test func(i int, b bit) string) string {
	words := make([][]string, c.words())
	for i, b := range c.bits.items {
		if sql := test(i, b); sql != "" {
			words[i/wordBits] = append(words[i/wordBits], fmt.Sprintf("bitShiftLeft(toUInt64(%s), %d)", sql, i%wordBits))
		}
	}
	out := make([]string, len(words))
	for i, bits := range words {
		// Addition of different bits is their union, and a long chain of it is flat.
		out[i] = fmt.Sprintf("toUInt64(%s) AS w%d", strings.Join(append(bits, "0"), " + "), i)
	}
	return strings.Join(out, ", ")
}

// parts are the SELECTs of partial rows, of every table that a criterion asks.
func (p Plan) parts(b Scope) []string {
	out := p.events(b)
	if len(p.columns.traits.items) > 0 {
		out = append(out, p.traits(b))
	}
	if names := p.columns.audiences(); len(names) > 0 {
		out = append(out, p.stored(b, names))
	}
	for i, asked := range p.columns.bits.items {
		switch {
		case asked.Sequence != nil:
			out = append(out, p.sequence(b, *asked.Sequence, i))
		case asked.Members != nil:
			out = append(out, p.listed(b, asked.Members, i))
		}
	}
	return out
}

// only writes the words of a row with one bit.
func (c *columns) only(number int, test string) string {
	return c.partial(func(i int, _ bit) string {
		if i != number {
			return ""
		}
		return test
	})
}

// listed gives the profiles of a list of public ids.
func (p Plan) listed(b Scope, ids []string, number int) string {
	return resolve(p.columns.only(number, "1"),
		"SELECT profile FROM profiles FINAL WHERE "+and([]string{"id IN (" + quoteAll(ids) + ")", b.filter()}))
}

// audiences outside the plan that are asked for.
func (c *columns) audiences() []string {
	var out []string
	for _, b := range c.bits.items {
		if b.Audience != "" {
			out = append(out, b.Audience)
		}
	}
	return out
}

// events gives one SELECT per event that is asked for, over the range of the table that holds it, for the table is sorted
// by event: together they read each row once, and no row is tested for what is asked of another event.
func (p Plan) events(b Scope) []string {
	byName := map[string][]int{}
	for i, q := range p.columns.measures.items {
		byName[q.Event] = append(byName[q.Event], i)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, p.event(b, name, byName[name]))
	}
	return out
}

// event measures the events of one name; asked are the columns that do.
func (p Plan) event(b Scope, name string, asked []int) string {
	var properties keyed[[]string]
	var measured, merged []string
	widest, bounded := p.At, true
	for _, i := range asked {
		m := p.columns.measures.items[i]
		tests := append([]string{"1"}, m.Span.tests(p.At)...)
		if from, ok := m.Span.lower(p.At); !ok {
			bounded = false
		} else if from.Before(widest) {
			widest = from
		}
		tests = append(tests, conditions(&properties, m.Where, p.At)...)
		one, all := m.sql(&properties, and(tests))
		measured = append(measured, fmt.Sprintf("%s AS c%d", one, i))
		merged = append(merged, fmt.Sprintf("%s(e.c%d) AS c%d", all, i, i))
	}
	tests := []string{"event = " + Quote(name), "occurred <= " + Moment(p.At)}
	if bounded {
		tests = append(tests, "occurred >= "+Moment(widest))
	}
	words := p.columns.partial(func(_ int, b bit) string {
		if b.Event == nil || !slices.Contains(asked, b.Event.Column) {
			return ""
		}
		return b.Event.sql()
	})
	return "SELECT p, " + words + "\nFROM (\n" + resolve(strings.Join(merged, ", "), "SELECT profile, "+strings.Join(measured, ", ")+
		"\n  FROM (SELECT profile, occurred"+extracted(properties)+" FROM events WHERE "+and(append(tests, b.filter()))+")\n  GROUP BY profile") + "\nGROUP BY p)"
}

// conditions are the SQL of where over the columns of properties, which they add to.
func conditions(properties *keyed[[]string], where []where, at time.Time) []string {
	var out []string
	for _, w := range where {
		test := predicate(fmt.Sprintf("p%d", properties.number(w.Path)), w.condition, at)
		if w.Negated {
			test = "NOT " + test
		}
		out = append(out, test)
	}
	return out
}

// extracted are the columns of properties. Each property is taken out of the JSON once, however many conditions there are
// on it.
func extracted(properties keyed[[]string]) string {
	var out strings.Builder
	for i, path := range properties.items {
		fmt.Fprintf(&out, ", %s AS p%d", property(path), i)
	}
	return out.String()
}

// sql makes the measure of the events that pass a test, and names the function that makes one of several.
func (m measure) sql(properties *keyed[[]string], test string) (one, all string) {
	if m.Kind == countEvents {
		return "countIf(" + test + ")", "sum"
	}
	json := fmt.Sprintf("p%d", properties.number(m.Path))
	test += " AND " + isNumber(json)
	number := "JSONExtractFloat(" + json + ")"
	switch m.Kind {
	case countNumbers:
		return "countIf(" + test + ")", "sum"
	case sumNumbers:
		return "sumIf(" + number + ", " + test + ")", "sum"
	case minNumber: // without any it is infinite, and not the 0 that minIf gives
		return "min(if(" + test + ", " + number + ", inf))", "min"
	default:
		return "max(if(" + test + ", " + number + ", -inf))", "max"
	}
}

// sql of the test over the columns.
func (e eventBit) sql() string {
	test := fmt.Sprintf("c%d >= %d", e.Column, e.Min)
	if e.Max != nil {
		test += fmt.Sprintf(" AND c%d <= %d", e.Column, *e.Max)
	}
	if e.Outside {
		return "NOT (" + test + ")"
	}
	if a := e.Aggregate; a != nil {
		value := fmt.Sprintf("c%d", a.Column)
		if a.Average {
			value += fmt.Sprintf(" / c%d", a.Numbers)
		}
		test += fmt.Sprintf(" AND c%d > 0 AND %s %s %s", a.Numbers, value, comparison(a.Operator), float(a.Value))
	}
	return test
}

// traits gives the latest value by event time, and of several at the same time the one that arrived last.
func (p Plan) traits(b Scope) string {
	latest := make([]string, len(p.columns.traits.items))
	for i, name := range p.columns.traits.items {
		latest[i] = fmt.Sprintf("argMaxIf(e.value, (e.occurred, e.seq), e.name = %s) AS v%d", Quote(name), i)
	}
	inner := "SELECT " + root + ", " + strings.Join(latest, ", ") +
		"\n  FROM (SELECT profile, name, value, occurred, seq FROM traits WHERE " +
		and([]string{"name IN (" + quoteAll(p.columns.traits.items) + ")", b.filter()}) + ") AS e" +
		"\n  " + join + "\n  GROUP BY p"
	return "SELECT p, " + p.columns.partial(func(_ int, b bit) string {
		if b.Trait == nil {
			return ""
		}
		return predicate(trait(fmt.Sprintf("v%d", p.columns.traits.number(b.Trait.Trait))), b.Trait.condition, p.At)
	}) + "\nFROM (\n  " + inner + ")"
}

func (p Plan) stored(b Scope, names []string) string {
	return resolve(p.columns.partial(func(_ int, b bit) string {
		if b.Audience == "" {
			return ""
		}
		return "e.audience = " + Quote(b.Audience)
	}), "SELECT audience, profile FROM memberships FINAL WHERE "+and([]string{"audience IN (" + quoteAll(names) + ")", b.filter()}))
}

// resolve selects columns of the rows e and the surviving profile p of each.
func resolve(columns, rows string) string {
	return "SELECT " + root + ", " + columns + "\nFROM (\n  " + rows + "\n) AS e\n" + join
}

func and(tests []string) string {
	tests = slices.DeleteFunc(tests, func(test string) bool { return test == "" })
	return strings.Join(tests, " AND ")
}
