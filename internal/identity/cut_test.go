package identity

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/event"
)

// members of the profile that id belongs to, its ordinal and its name.
func (m *memory) members(id Identifier) (root uint64, ids []Identifier, name uuid.UUID) {
	root = m.root(m.identities[id].value.Profile)
	for other, row := range m.identities {
		if m.root(row.value.Profile) == root {
			ids = append(ids, other)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return root, ids, m.profiles[root].value.ID
}

// decide is what [Decide] does, over memory.
func (m *memory) decide(c Cut, links []Link, next uint64) (Unmerge, error) {
	root, ids, name := m.members(c.Identifier)
	var left []Link
	for _, l := range links {
		cut := false
		for _, u := range m.cuts {
			for _, id := range u.Against {
				cut = cut || (l.From == u.Cut && l.To == id) || (l.To == u.Cut && l.From == id)
			}
		}
		if !cut && slices.Contains(ids, l.From) && slices.Contains(ids, l.To) {
			left = append(left, l)
		}
	}
	p, err := split(ids, left, c, name)
	u := Unmerge{Cut: c.Identifier, Against: p.against, Profile: root}
	for i, part := range p.parts {
		for _, id := range part {
			u.Moved = append(u.Moved, AttachedRow{id, next + uint64(i), m.identities[id].value.Since})
		}
	}
	return u, err
}

// genCut draws a cut of an identifier from all others of its profile or from one.
func genCut(t *rapid.T, m *memory) Cut {
	all := make([]Identifier, 0, len(m.identities))
	for id := range m.identities {
		all = append(all, id)
	}
	slices.SortFunc(all, compareIDs)
	c := Cut{Identifier: rapid.SampledFrom(all).Draw(t, "cut")}
	_, ids, _ := m.members(c.Identifier)
	if ids = slices.DeleteFunc(ids, func(id Identifier) bool { return id == c.Identifier }); len(ids) > 0 && rapid.Bool().Draw(t, "one edge") {
		c.From = rapid.SampledFrom(ids).Draw(t, "from")
	}
	return c
}

// history resolves events and gives the links that were recorded.
func history(t *rapid.T, events []event.Event) (*memory, []Link, uint64) {
	var links []Link
	next := uint64(1)
	m := run(t, unlimited(), events, genCuts(t, len(events)), rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "cache"), func(_ *memory, _ Batch, c Changes) {
		for _, e := range c.Edges {
			links = append(links, Link{From: e.A, To: e.B})
		}
		next = c.Next
	})
	return m, links, next
}

// An unmerge leaves what the history without the cut edges makes: A.6, property 7 of the research.
func TestUnmergeIsHistoryWithoutTheEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		m, links, next := history(t, events)
		c := genCut(t, m)
		want := componentsWithout(unlimited(), events, func(a, b Identifier) bool {
			return a == c.Identifier && (c.From == Identifier{} || b == c.From) && a != b
		})
		u, err := m.decide(c, links, next)
		if err == nil {
			m.cut(unlimited(), u, 1000)
		} else if !errors.Is(err, ErrAlone) && !errors.Is(err, ErrTied) {
			t.Fatalf("%v", err)
		}
		if diff := cmp.Diff(want, m.partition()); diff != "" {
			t.Fatalf("cutting %v (%v) differs from history without it (-history +unmerged):\n%s", c, err, diff)
		}
		if errors.Is(err, ErrTied) {
			return
		}
		if err == nil && len(u.Moved) == 0 {
			t.Fatalf("cutting %v moved nothing", c)
		}
	})
}

// After cuts, whatever comes joins as a plain fold over events says in which each identifier is left out that was cut from
// what an earlier one, of higher priority, belongs to; no profile ever has both sides of a cut.
func TestCutsHold(t *testing.T) {
	rules := unlimited()
	rank := map[string]int{"userId": 0, "email": 1, "anonymousId": 2}
	rapid.Check(t, func(t *rapid.T) {
		m, links, next := history(t, genEvents(t))
		type cut struct {
			a  Identifier
			bs []Identifier
		}
		var cuts []cut
		for n := range rapid.IntRange(1, 3).Draw(t, "cuts") {
			u, err := m.decide(genCut(t, m), links, next)
			if err != nil {
				continue
			}
			m.cut(rules, u, uint64(1000+n))
			next += uint64(len(u.Moved))
			cuts = append(cuts, cut{u.Cut, u.Against})
		}
		groups := slices.Collect(func(yield func([]Identifier) bool) {
			for _, ids := range m.partition() {
				if !yield(ids) {
					return
				}
			}
		})
		opposed := func(a, b []Identifier) bool {
			return slices.ContainsFunc(cuts, func(c cut) bool {
				isOther := func(id Identifier) bool { return slices.Contains(c.bs, id) }
				return (slices.Contains(a, c.a) && slices.ContainsFunc(b, isOther)) || (slices.Contains(b, c.a) && slices.ContainsFunc(a, isOther))
			})
		}
		events := genEvents(t)
		for _, e := range events {
			ids := slices.Clone(e.Identifiers)
			slices.SortStableFunc(ids, func(a, b event.Identifier) int { return rank[a.Type] - rank[b.Type] })
			var joined []Identifier
			for _, x := range ids {
				id := Identifier{x.Type, x.Value}
				at := slices.IndexFunc(groups, func(g []Identifier) bool { return slices.Contains(g, id) })
				group := []Identifier{id}
				if at >= 0 {
					group = groups[at]
				}
				if slices.Contains(joined, id) || opposed(joined, group) {
					continue
				}
				joined = append(joined, group...)
				if at >= 0 {
					groups = slices.Delete(groups, at, at+1)
				}
			}
			groups = append(groups, joined)
		}
		want := map[string]bool{}
		for _, g := range groups {
			_, name := Name(rules, g)
			want[name.String()] = true
		}
		r, err := newResolver(rules, m, 2, 2)
		if err != nil {
			t.Fatalf("%v", err)
		}
		first := uint64(2000)
		for _, n := range genCuts(t, len(events)) {
			b := Batch{First: first, Last: first + uint64(n) - 1, Next: next, Events: events[:n]}
			c, err := r.Resolve(t.Context(), b)
			if err != nil {
				t.Fatalf("%v", err)
			}
			// A batch that is stored in part and replayed by another process comes to the same.
			part := m.clone()
			part.apply(c, rapid.IntRange(0, 3).Draw(t, "stored"))
			again, err := newResolver(rules, part, 2, 2)
			if err != nil {
				t.Fatalf("%v", err)
			}
			replayed, err := again.Resolve(t.Context(), b)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if diff := cmp.Diff(c.Assigned, replayed.Assigned); diff != "" {
				t.Fatalf("replayed (-first +again):\n%s", diff)
			}
			m.apply(c, 3)
			events, first, next = events[n:], b.Last+1, c.Next
		}
		got := map[string]bool{}
		for name, ids := range m.partition() {
			got[name.String()] = true
			if opposed(ids, ids) {
				t.Fatalf("a profile has both sides of a cut: %v of %v", ids, cuts)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("profiles differ from the fold (-fold +got):\n%s", diff)
		}
	})
}

// What split does with histories that have gaps.
func TestSplit(t *testing.T) {
	u, e, a, b := Identifier{"userId", "u"}, Identifier{"email", "e"}, Identifier{"anonymousId", "a"}, Identifier{"anonymousId", "b"}
	link := func(x, y Identifier) Link { return Link{From: x, To: y, Occurred: time.Unix(0, 0)} }
	for _, c := range []struct {
		why   string
		ids   []Identifier
		links []Link
		cut   Cut
		name  Identifier
		kept  []Identifier
		parts [][]Identifier
		err   error
	}{
		{"what hung on the cut goes with it", []Identifier{u, e, a, b}, []Link{link(u, e), link(u, a), link(a, b)}, Cut{a, u}, u, []Identifier{e, u}, [][]Identifier{{a, b}}, nil},
		{"alone means alone", []Identifier{u, e, a, b}, []Link{link(u, e), link(u, a), link(a, b)}, Cut{Identifier: a}, u, []Identifier{e, u}, [][]Identifier{{a}, {b}}, nil},
		{"no link on record: the rest stays", []Identifier{u, e, a, b}, nil, Cut{Identifier: a}, u, []Identifier{b, e, u}, [][]Identifier{{a}}, nil},
		{"no link on record, and the name goes: the rest is one", []Identifier{u, e, a, b}, nil, Cut{Identifier: u}, u, []Identifier{u}, [][]Identifier{{a, b, e}}, nil},
		{"the name was erased", []Identifier{a, b}, []Link{link(a, b)}, Cut{Identifier: a}, u, []Identifier{b}, [][]Identifier{{a}}, nil},
		{"another way round", []Identifier{u, e, a}, []Link{link(u, a), link(u, e), link(e, a)}, Cut{a, u}, u, nil, nil, ErrTied},
		{"nothing to cut from", []Identifier{u}, nil, Cut{Identifier: u}, u, nil, nil, ErrAlone},
	} {
		p, err := split(c.ids, c.links, c.cut, c.name.ID())
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: error %v, want %v", c.why, err, c.err)
		}
		if diff := cmp.Diff(c.kept, p.kept); diff != "" {
			t.Errorf("%s: kept (-want +got):\n%s", c.why, diff)
		}
		if diff := cmp.Diff(c.parts, p.parts); diff != "" {
			t.Errorf("%s: parts (-want +got):\n%s", c.why, diff)
		}
	}
}
