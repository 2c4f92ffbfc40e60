package audience

import (
	"fmt"
	"maps"
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
// It reads each row once. Events are counted by the profile they were written with, in the order they are stored in, and
// only the counts are carried over to the surviving profile; traits and stored memberships join by UNION ALL of partial
// rows. A profile without any row has no rule that holds (see [Validate]), so none is missed.
func (p Plan) Members(b Bucket) string {
	from := "SELECT p AS profile, " + p.columns.merged() +
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

// wordBits of a UInt64.
const wordBits = 64

func (c *columns) words() int { return (len(c.bits.items) + wordBits - 1) / wordBits }

// merged are the words of the whole profile over the partial rows.
func (c *columns) merged() string {
	out := make([]string, c.words())
	for i := range out {
		out[i] = fmt.Sprintf("groupBitOr(w%d) AS w%d", i, i)
	}
	return strings.Join(out, ", ")
}

// partial writes the words of a partial row: the bits that test gives SQL for, all others 0.
func (c *columns) partial(test func(b bit) string) string {
	words := make([][]string, c.words())
	for i, b := range c.bits.items {
		if sql := test(b); sql != "" {
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
func (p Plan) parts(b Bucket) []string {
	out := p.events(b)
	if len(p.columns.traits.items) > 0 {
		out = append(out, p.traits(b))
	}
	if names := p.columns.audiences(); len(names) > 0 {
		out = append(out, p.stored(b, names))
	}
	return out
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
func (p Plan) events(b Bucket) []string {
	byName := map[string][]int{}
	for i, q := range p.columns.counts.items {
		byName[q.Event] = append(byName[q.Event], i)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, p.event(b, name, byName[name]))
	}
	return out
}

// event counts the events of one name; asked are the columns that do.
func (p Plan) event(b Bucket, name string, asked []int) string {
	var properties keyed[[]string]
	var counts []string
	widest, bounded := p.At, true
	for _, i := range asked {
		q := p.columns.counts.items[i]
		tests := []string{"1"}
		if from := p.At.Add(-q.Within); q.Within > 0 && from.After(earliest) {
			tests = append(tests, "occurred > "+Moment(from))
			if from.Before(widest) {
				widest = from
			}
		} else {
			bounded = false
		}
		for _, w := range q.Where {
			test := predicate(fmt.Sprintf("p%d", properties.number(w.Path)), w.condition)
			if w.Negated {
				test = "NOT " + test
			}
			tests = append(tests, test)
		}
		counts = append(counts, fmt.Sprintf("countIf(%s) AS c%d", and(tests), i))
	}
	// Each property is taken out of the JSON once, however many conditions there are on it.
	columns := "profile, occurred"
	for i, path := range properties.items {
		columns += fmt.Sprintf(", %s AS p%d", property(path), i)
	}
	tests := []string{"event = " + Quote(name), "occurred <= " + Moment(p.At)}
	if bounded {
		tests = append(tests, "occurred > "+Moment(widest))
	}
	sums := make([]string, len(asked))
	for n, i := range asked {
		sums[n] = fmt.Sprintf("sum(e.c%d) AS c%d", i, i)
	}
	words := p.columns.partial(func(b bit) string {
		if b.Count == nil || !slices.Contains(asked, b.Count.Column) {
			return ""
		}
		return b.Count.sql()
	})
	return "SELECT p, " + words + "\nFROM (\n" + resolve(strings.Join(sums, ", "), "SELECT profile, "+strings.Join(counts, ", ")+
		"\n  FROM (SELECT "+columns+" FROM events WHERE "+and(append(tests, b.filter()))+")\n  GROUP BY profile") + "\nGROUP BY p)"
}

// sql of the test over the count's column.
func (c countBit) sql() string {
	test := fmt.Sprintf("c%d >= %d", c.Column, c.Min)
	if c.Max != nil {
		test += fmt.Sprintf(" AND c%d <= %d", c.Column, *c.Max)
	}
	if c.Outside {
		return "NOT (" + test + ")"
	}
	return test
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
	return "SELECT p, " + p.columns.partial(func(b bit) string {
		if b.Trait == nil {
			return ""
		}
		return predicate(trait(fmt.Sprintf("v%d", p.columns.traits.number(b.Trait.Trait))), b.Trait.condition)
	}) + "\nFROM (\n  " + inner + ")"
}

func (p Plan) stored(b Bucket, names []string) string {
	return resolve(p.columns.partial(func(b bit) string {
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
