package identity

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/event"
)

// memory is the tables of a warehouse, held as ReplacingMergeTree holds them, and the Store over them. It reads as of a
// version in the plainest way: by looking at each row.
type memory struct {
	identities map[Identifier]versioned[AttachedRow]
	profiles   map[uint64]versioned[ProfileRow]
	overrides  map[uint64]versioned[OverrideRow]
	cuts       map[uint64]Unmerge // by message
}

type versioned[V any] struct {
	value   V
	version uint64
}

func newMemory() *memory {
	return &memory{map[Identifier]versioned[AttachedRow]{}, map[uint64]versioned[ProfileRow]{}, map[uint64]versioned[OverrideRow]{}, map[uint64]Unmerge{}}
}

func (m *memory) clone() *memory {
	c := newMemory()
	for k, v := range m.identities {
		c.identities[k] = v
	}
	for k, v := range m.profiles {
		c.profiles[k] = v
	}
	for k, v := range m.overrides {
		c.overrides[k] = v
	}
	for k, v := range m.cuts {
		c.cuts[k] = v
	}
	return c
}

// cut carries an unmerge out.
func (m *memory) cut(rules []Rule, u Unmerge, seq uint64) {
	parts := map[uint64][]Identifier{}
	for _, id := range u.Moved {
		parts[id.Profile] = append(parts[id.Profile], id.Identifier)
		put(m.identities, id.Identifier, id, seq)
	}
	for ordinal, ids := range parts {
		rank, name := Name(rules, ids)
		put(m.profiles, ordinal, ProfileRow{Profile: ordinal, ID: name, Rank: rank}, seq)
	}
	m.cuts[seq] = u
}

// ends gives the sides of cuts that a profile had identifiers of before a version.
func (m *memory) ends(f forest, root, before uint64) (ends []CutEnd) {
	is := func(id Identifier) bool { return f.rootBefore(m.identities[id].value.Profile, before) == root }
	for seq, u := range m.cuts {
		if is(u.Cut) {
			ends = append(ends, CutEnd{seq, false})
		}
		for _, id := range u.Against {
			if is(id) {
				ends = append(ends, CutEnd{seq, true})
				break
			}
		}
	}
	return ends
}

func put[K comparable, V any](table map[K]versioned[V], k K, v V, version uint64) {
	if old, ok := table[k]; !ok || version >= old.version {
		table[k] = versioned[V]{v, version}
	}
}

// apply stores the first n of the three tables' rows.
func (m *memory) apply(c Changes, n int) {
	if n > 0 {
		for _, row := range c.Profiles {
			put(m.profiles, row.Profile, row, c.Version)
		}
	}
	if n > 1 {
		for _, row := range c.Attached {
			put(m.identities, row.Identifier, row, c.Version)
		}
	}
	if n > 2 {
		for _, row := range c.Overrides {
			put(m.overrides, row.Ordinal, row, c.Version)
		}
	}
}

func (m *memory) forest() forest {
	f := forest{}
	for ordinal, o := range m.overrides {
		f[ordinal] = override{Merge: o.value.Merge, survivor: o.value.Survivor, changed: o.version}
	}
	return f
}

// root is where a profile is now.
func (m *memory) root(ordinal uint64) uint64 {
	if o, ok := m.overrides[ordinal]; ok {
		return o.value.Survivor
	}
	return ordinal
}

func (m *memory) Ordinals(_ context.Context, ids []Identifier, before uint64) ([]uint64, error) {
	out := make([]uint64, len(ids))
	for i, id := range ids {
		if row, ok := m.identities[id]; ok && row.version < before {
			out[i] = row.value.Profile
		}
	}
	return out, nil
}

func (m *memory) Profiles(_ context.Context, ordinals []uint64, timed []string, before uint64) ([]Profile, error) {
	f := m.forest()
	out := make([]Profile, len(ordinals))
	for i, ordinal := range ordinals {
		root := f.rootBefore(ordinal, before)
		row := m.profiles[root].value
		p := Profile{Ordinal: root, ID: row.ID, Rank: row.Rank, Created: row.Created, Counts: map[string]int{}, Since: map[string][]int64{}}
		for id, attached := range m.identities {
			if attached.version < before && f.rootBefore(attached.value.Profile, before) == root {
				p.Counts[id.Type]++
				if slices.Contains(timed, id.Type) {
					p.Since[id.Type] = append(p.Since[id.Type], attached.value.Since.UnixMilli())
				}
			}
		}
		p.Cuts = m.ends(f, root, before)
		for _, o := range f.sorted() {
			if o.Version < before && f.rootBefore(o.Ordinal, before) == root {
				p.Absorbed = append(p.Absorbed, o.Merge)
			}
		}
		out[i] = p
	}
	return out, nil
}

func (m *memory) Learn([]AttachedRow) {}

// partition is the identifiers of each profile, by public id.
func (m *memory) partition() map[uuid.UUID][]Identifier {
	out := map[uuid.UUID][]Identifier{}
	for id, row := range m.identities {
		name := m.profiles[m.root(row.value.Profile)].value.ID
		if name == uuid.Nil {
			continue // guests of a device that nobody has been yet
		}
		out[name] = append(out[name], id)
	}
	for _, ids := range out {
		slices.SortFunc(ids, compareIDs)
	}
	return out
}

func compareIDs(a, b Identifier) int {
	return bytes.Compare([]byte(a.Type+"\x00"+a.Value), []byte(b.Type+"\x00"+b.Value))
}

// components is what the profiles must be without limits: a breadth-first search over identifiers seen together, named
// by the least (rank, id) of each component.
func components(rules []Rule, events []event.Event) map[uuid.UUID][]Identifier {
	return componentsWithout(rules, events, func(Identifier, Identifier) bool { return false })
}

// componentsWithout is the same without the edges that were cut.
func componentsWithout(rules []Rule, events []event.Event, cut func(a, b Identifier) bool) map[uuid.UUID][]Identifier {
	rank := map[string]int{}
	for i, r := range rules {
		rank[r.Type] = i
	}
	edges := map[Identifier][]Identifier{}
	for _, e := range events {
		for _, a := range e.Identifiers {
			from := Identifier{a.Type, a.Value}
			edges[from] = append(edges[from], from)
			for _, b := range e.Identifiers {
				if to := (Identifier{b.Type, b.Value}); !cut(from, to) && !cut(to, from) {
					edges[from] = append(edges[from], to)
				}
			}
		}
	}
	out := map[uuid.UUID][]Identifier{}
	seen := map[Identifier]bool{}
	for start := range edges {
		var component []Identifier
		for queue := []Identifier{start}; len(queue) > 0; queue = queue[1:] {
			if !seen[queue[0]] {
				seen[queue[0]] = true
				component = append(component, queue[0])
				queue = append(queue, edges[queue[0]]...)
			}
		}
		if len(component) == 0 {
			continue
		}
		best := slices.MinFunc(component, func(a, b Identifier) int {
			if rank[a.Type] != rank[b.Type] {
				return rank[a.Type] - rank[b.Type]
			}
			x, y := a.ID(), b.ID()
			return bytes.Compare(x[:], y[:])
		})
		slices.SortFunc(component, compareIDs)
		out[best.ID()] = component
	}
	return out
}

// seen makes an event of identifiers, at a second of its own.
func seen(second int, ids ...event.Identifier) event.Event {
	at := time.Unix(int64(1_700_000_000+second), 0).UTC()
	return event.Event{Identifiers: ids, Occurred: at, Received: at}
}

func id(kind, value string) event.Identifier { return event.Identifier{Type: kind, Value: value} }
