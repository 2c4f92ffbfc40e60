package audience

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bucket is one of Count equal parts of all profiles, for what is kept in memory while a statement runs grows with the
// profiles it looks at. The zero Bucket is all of them.
type Bucket struct{ Index, Count int }

// filter is the SQL condition that a row's profile resolves into the bucket; empty for all.
func (b Bucket) filter() string {
	if b.Count < 2 {
		return ""
	}
	return fmt.Sprintf("if(profile IN (SELECT profile FROM profile_overrides), profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor %% %d = %d), profile %% %d = %d)",
		b.Count, b.Index, b.Count, b.Index)
}

// Has is the SQL condition that a resolved profile is in the bucket; empty for all.
func (b Bucket) Has(profile string) string {
	if b.Count < 2 {
		return ""
	}
	return fmt.Sprintf("%s %% %d = %d", profile, b.Count, b.Index)
}

// The same as profile.Join and profile.Root, which this package does not use because they come with a client of the
// warehouse. Ordinals begin at 1, so a survivor of 0, which the join makes up, is a profile that was never merged.
const (
	join = "LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = e.profile"
	root = "if(o.survivor = 0, e.profile, o.survivor) AS p"
)

// earliest is the first moment that DateTime64 can hold.
var earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

// Members is the statement that gives one row (audience UInt16, profile UInt64) per member in the bucket: the number of
// the Audience in p.Audiences, from 1, and the surviving profile's ordinal.
//
// It reads each table once. Events are counted by the profile they were written with, in the order they are stored in,
// and only the counts are carried over to the surviving profile; traits and stored memberships join by UNION ALL of
// partial rows. A profile without any row has no rule that holds (see [Validate]), so none is missed.
func (p Plan) Members(b Bucket) string {
	from := "SELECT p AS profile, " + strings.Join(p.columns.merged(), ", ") +
		"\nFROM (\n" + strings.Join(p.parts(b), "\nUNION ALL\n") + "\n)\nGROUP BY p"
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

// merged are the columns of the whole profile over the partial rows.
func (c *columns) merged() []string {
	var out []string
	for i := range c.counts.items {
		out = append(out, fmt.Sprintf("sum(c%d) AS c%d", i, i))
	}
	for i := range c.conditions.items {
		out = append(out, fmt.Sprintf("max(t%d) AS t%d", i, i))
	}
	for i := range c.members.items {
		out = append(out, fmt.Sprintf("max(a%d) AS a%d", i, i))
	}
	return out
}

// partial lists the columns of a partial row: those of one letter as value writes them, all others 0.
func (c *columns) partial(letter byte, value func(i int) string) string {
	var out []string
	for _, group := range []struct {
		letter byte
		size   int
	}{{'c', len(c.counts.items)}, {'t', len(c.conditions.items)}, {'a', len(c.members.items)}} {
		zero := "toUInt8(0)"
		if group.letter == 'c' {
			zero = "toUInt64(0)"
		}
		for i := range group.size {
			text := zero
			if group.letter == letter {
				text = value(i)
			}
			out = append(out, fmt.Sprintf("%s AS %c%d", text, group.letter, i))
		}
	}
	return strings.Join(out, ", ")
}

// parts are the SELECTs of partial rows, one per table that a criterion asks.
func (p Plan) parts(b Bucket) []string {
	var out []string
	if len(p.columns.counts.items) > 0 {
		out = append(out, p.events(b))
	}
	if len(p.columns.conditions.items) > 0 {
		out = append(out, p.traits(b))
	}
	if len(p.columns.members.items) > 0 {
		out = append(out, p.stored(b))
	}
	return out
}

func (p Plan) events(b Bucket) string {
	var counts, names []string
	widest, bounded := p.At, true
	for i, q := range p.columns.counts.items {
		tests := []string{"event = " + Quote(q.Event)}
		if from := p.At.Add(-q.Within); q.Within > 0 && from.After(earliest) {
			tests = append(tests, "occurred > "+Moment(from))
			if from.Before(widest) {
				widest = from
			}
		} else {
			bounded = false
		}
		for _, w := range q.Where {
			test := predicate(property(w.Path), w.condition)
			if w.Negated {
				test = "NOT " + test
			}
			tests = append(tests, test)
		}
		counts = append(counts, fmt.Sprintf("countIf(%s) AS c%d", strings.Join(tests, " AND "), i))
		names = append(names, q.Event)
	}
	slices.Sort(names)
	tests := []string{"event IN (" + quoteAll(slices.Compact(names)) + ")", "occurred <= " + Moment(p.At)}
	if bounded {
		tests = append(tests, "occurred > "+Moment(widest))
	}
	return resolve(p.columns.partial('c', func(i int) string { return fmt.Sprintf("e.c%d", i) }),
		"SELECT profile, "+strings.Join(counts, ", ")+"\n  FROM events WHERE "+and(append(tests, b.filter()))+"\n  GROUP BY profile")
}

// traits gives the latest value by event time, and of several at the same time the one that arrived last.
func (p Plan) traits(b Bucket) string {
	latest := make([]string, len(p.columns.traits.items))
	for i, name := range p.columns.traits.items {
		latest[i] = fmt.Sprintf("argMaxIf(e.value, (e.occurred, e.seq), e.name = %s) AS v%d", Quote(name), i)
	}
	inner := "SELECT " + root + ", " + strings.Join(latest, ", ") +
		"\n  FROM (SELECT profile, name, value, occurred, seq FROM traits WHERE " +
		and([]string{"name IN (" + quoteAll(p.columns.traits.items) + ")", b.filter()}) + ") AS e" +
		"\n  " + join + "\n  GROUP BY p"
	return "SELECT p, " + p.columns.partial('t', func(i int) string {
		q := p.columns.conditions.items[i]
		column := fmt.Sprintf("v%d", p.columns.traits.number(q.Trait))
		return "toUInt8(" + predicate(trait(column), q.condition) + ")"
	}) + "\nFROM (\n  " + inner + ")"
}

func (p Plan) stored(b Bucket) string {
	return resolve(p.columns.partial('a', func(i int) string {
		return "toUInt8(e.audience = " + Quote(p.columns.members.items[i]) + ")"
	}), "SELECT audience, profile FROM memberships FINAL WHERE "+
		and([]string{"audience IN (" + quoteAll(p.columns.members.items) + ")", b.filter()}))
}

// resolve selects columns of the rows e and the surviving profile p of each.
func resolve(columns, rows string) string {
	return "SELECT " + root + ", " + columns + "\nFROM (\n  " + rows + "\n) AS e\n" + join
}

func and(tests []string) string {
	tests = slices.DeleteFunc(tests, func(test string) bool { return test == "" })
	return strings.Join(tests, " AND ")
}
