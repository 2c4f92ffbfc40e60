package identity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/gjson"

	"kohort.dev/kohort/internal/event"
)

// work is the resolution of one batch.
type work struct {
	rules []Rule
	most  int // identifiers of a profile
	batch Batch
	next  uint64

	slots  []slot      // the batch's identifiers, each once
	index  map[key]int // into slots
	refs   []ref       // of all events, one after the other
	starts []int       // of each event's refs

	assigned []*state
	touched  []*state // made or renamed
	merged   []*state
	edges    []EdgeRow

	ids   []int    // of the event at hand
	names []int    // those of ids that may match
	roots []*state // likewise
}

// slot is one identifier of the batch.
type slot struct {
	key
	hash     uint64
	ordinal  uint64 // it was attached to before the batch, 0 for none
	state    *state // it belongs to
	attached bool   // in this batch
	event    int    // that attached it
	guests   int    // of a device's slot: the slot of what it is called once several people use it, -1 of all others
}

// ref names a slot, and the one to take when that is unknown; -1 for none.
type ref struct{ slot, otherwise int }

// collect lists the identifiers of the batch.
func (w *work) collect() {
	w.index = make(map[key]int, len(w.batch.Events))
	w.starts = make([]int, 0, len(w.batch.Events)+1)
	w.refs = make([]ref, 0, 2*len(w.batch.Events))
	for i := range w.batch.Events {
		w.starts = append(w.starts, len(w.refs))
		e := &w.batch.Events[i]
		for rank := range w.rules {
			w.collectType(e, rank)
		}
	}
	w.starts = append(w.starts, len(w.refs))
}

// collectType lists the event's identifiers of one type.
func (w *work) collectType(e *event.Event, rank int) {
	rule := &w.rules[rank]
	if len(rule.Compose) > 0 {
		if slot := w.composed(e, rank); slot >= 0 {
			w.refs = append(w.refs, ref{slot, -1})
		}
		return
	}
	for i := range e.Identifiers {
		id := &e.Identifiers[i]
		if id.Type != rule.Type {
			continue
		}
		r := ref{w.slot(rank, id.Value), -1}
		if id.Else != "" {
			r.otherwise = w.slotOf(id.Else, id.Value)
		}
		if r.slot >= 0 || r.otherwise >= 0 {
			w.refs = append(w.refs, r)
		}
	}
	if rule.Type == event.UserID || rule.Type == event.AnonymousID {
		return // only fields of their own name these
	}
	for i := len(e.Traits) - 1; i >= 0; i-- {
		if t := &e.Traits[i]; t.Name == rule.Type {
			if slot := w.slot(rank, scalar(t.Value)); slot >= 0 {
				w.refs = append(w.refs, ref{slot, -1})
			}
			return // the last of one name is the one that counts
		}
	}
}

// composed is the slot of the identifier that the rule makes of the event's traits, -1 when one of them is missing.
func (w *work) composed(e *event.Event, rank int) int {
	names := w.rules[rank].Compose
	if len(e.Traits) < len(names) {
		return -1
	}
	parts := make([]string, len(names))
	for i, name := range names {
		for k := len(e.Traits) - 1; k >= 0; k-- {
			if e.Traits[k].Name == name {
				parts[i] = strings.ReplaceAll(scalar(e.Traits[k].Value), separator, " ")
				break
			}
		}
	}
	return w.slot(rank, strings.Join(parts, separator))
}

// scalar is the text of a JSON string or number, empty for anything else.
func scalar(json string) string {
	switch v := gjson.Parse(json); v.Type {
	case gjson.String:
		return v.Str
	case gjson.Number:
		return v.Raw
	}
	return ""
}

func (w *work) slotOf(kind, value string) int {
	for rank := range w.rules {
		if w.rules[rank].Type == kind {
			return w.slot(rank, value)
		}
	}
	return -1
}

func (w *work) slot(rank int, value string) int {
	value = w.rules[rank].Normalise(value)
	if value == "" || len(value) > event.MaxID {
		return -1
	}
	i, isNew := w.slotOfKey(key{rank, value})
	if isNew && w.rules[rank].isDevice() {
		w.slots[i].guests, _ = w.slotOfKey(key{rank, guestsOf(w.identifier(&w.slots[i]))})
	}
	return i
}

func (w *work) slotOfKey(k key) (i int, isNew bool) {
	i, ok := w.index[k]
	if !ok {
		i = len(w.slots)
		w.slots = append(w.slots, slot{key: k, hash: xxhash.Sum64String(k.value) + uint64(k.rank), guests: -1})
		w.index[k] = i
	}
	return i, !ok
}

// decide goes through the events in order.
func (w *work) decide(edges *recent) {
	w.assigned = make([]*state, len(w.batch.Events))
	for e := range w.batch.Events {
		ids := w.identifiers(e)
		if len(ids) == 0 {
			continue
		}
		s, left, changed := w.matchMost(w.withoutShared(ids), e)
		for w.share(s, left, e) { // what was left out for the sake of a shared device may match now
			s, left, _ = w.matchMost(w.withoutShared(ids), e)
			changed = true
		}
		w.assigned[e] = s
		w.record(ids, e, changed, edges)
	}
}

// cliqueOf identifiers of one event are recorded with each other, further ones with the first alone: an event may carry
// hundreds of them, and all pairs of those would be tens of thousands.
const cliqueOf = 8

// record notes which identifiers were seen together: all pairs, for the others are still tied when one is cut out.
func (w *work) record(ids []int, e int, changed bool, edges *recent) {
	for i, a := range ids[:min(len(ids), cliqueOf)] {
		for k, b := range ids[i+1:] {
			if i > 0 && i+1+k >= cliqueOf {
				break
			}
			x, y := &w.slots[a], &w.slots[b]
			if seen := edges.seen(x.hash, y.hash); !seen || changed {
				w.edges = append(w.edges, EdgeRow{w.identifier(x), w.identifier(y), e})
			}
		}
	}
}

// matchMost matches as many of ids as cuts and limits allow, those of the highest priority, and gives the others.
func (w *work) matchMost(ids []int, e int) (s *state, left []int, changed bool) {
	ids, cut := w.withoutCut(ids)
	for n := len(ids); n > 0; n-- {
		if s, changed, ok := w.match(ids[:n], e); ok {
			return s, append(cut, ids[n:]...), changed
		}
	}
	return nil, nil, false
}

// identifiers are the slots of an event, each once, in order of priority.
func (w *work) identifiers(e int) []int {
	w.ids = w.ids[:0]
	for _, r := range w.refs[w.starts[e]:w.starts[e+1]] {
		i := r.slot
		if r.otherwise >= 0 && (i < 0 || w.slots[i].state == nil) {
			i = r.otherwise
		}
		if i >= 0 && !slices.Contains(w.ids, i) {
			w.ids = append(w.ids, i)
		}
	}
	slices.SortStableFunc(w.ids, func(a, b int) int { return w.slots[a].rank - w.slots[b].rank })
	return w.ids
}

// match makes ids one profile's, unless that would break a limit. changed tells that something is new.
func (w *work) match(ids []int, e int) (s *state, changed, ok bool) {
	w.roots = w.roots[:0]
	unknown := 0
	for _, i := range ids {
		if w.slots[i].state == nil {
			unknown++
			continue
		}
		if root := w.slots[i].state.root(); !slices.Contains(w.roots, root) {
			w.roots = append(w.roots, root)
		}
	}
	if len(w.roots) == 1 && unknown == 0 {
		return w.roots[0], w.welcome(w.roots[0], ids, e), true
	}
	if len(ids) > 1 && w.breaksLimit(ids, w.batch.Events[e].Occurred.UnixMilli()) {
		return nil, false, false
	}
	s = w.unite(e)
	for _, i := range ids {
		if slot := &w.slots[i]; slot.state == nil {
			slot.state, slot.attached, slot.event = s, true, e
			s.add(slot.rank, &w.rules[slot.rank], w.batch.Events[e].Occurred.UnixMilli())
			if uint32(slot.rank) <= s.rank {
				s.name(uint32(slot.rank), w.identifier(slot).ID())
			}
		}
	}
	w.touched = append(w.touched, s)
	return s, true, true
}

// breaksLimit says whether a profile of all of w.roots and the unknown of ids would hold more of a type than its rule
// allows. A profile that has more already, from the time of looser rules, is broken only by getting another.
func (w *work) breaksLimit(ids []int, at int64) bool {
	all, most := 0, 0
	for _, root := range w.roots {
		all += root.size()
		most = max(most, root.size())
	}
	for rank := range w.rules {
		total, largest, unknown := int32(0), int32(0), int32(0)
		for _, root := range w.roots {
			total += root.counts[rank]
			largest = max(largest, root.counts[rank])
		}
		for _, i := range ids {
			if w.slots[i].state == nil && w.slots[i].rank == rank {
				unknown++
			}
		}
		all += int(unknown)
		if total += unknown; total <= int32(w.rules[rank].limit()) || total == largest {
			continue
		}
		if rule := &w.rules[rank]; !rule.windowed() || w.breaksWindow(rank, unknown, at) {
			return true
		}
	}
	return all > w.most && all > most
}

// breaksWindow says the same of a type that is limited by time: whether some span of the rule's window would see more
// values than the limit, and more than in one of the profiles that are there.
func (w *work) breaksWindow(rank int, unknown int32, at int64) bool {
	rule := &w.rules[rank]
	var times []int64
	largest := 0
	for _, root := range w.roots {
		largest = max(largest, densest(slices.Clone(root.times[rank]), rule.Window.Milliseconds()))
		times = append(times, root.times[rank]...)
	}
	for range unknown {
		times = append(times, at)
	}
	n := densest(times, rule.Window.Milliseconds())
	return n > rule.limit() && n > largest
}

// densest is the largest number of times within less than window, all in milliseconds. It sorts times.
func densest(times []int64, window int64) int {
	slices.Sort(times)
	most, first := 0, 0
	for last, t := range times {
		for t-times[first] >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// unite merges w.roots into the one of the lowest ordinal, or makes a profile when there is none.
func (w *work) unite(e int) *state {
	if len(w.roots) == 0 {
		s := &state{
			ordinal: w.next, rank: unnamed, created: w.batch.Events[e].Received,
			counts: make([]int32, len(w.rules)), times: times(w.rules), isNew: true,
		}
		w.next++
		return s
	}
	survivor := slices.MinFunc(w.roots, func(a, b *state) int {
		if a.ordinal < b.ordinal {
			return -1
		}
		return 1
	})
	for _, root := range w.roots {
		if root != survivor {
			survivor.absorb(root, w.batch.Last)
			w.merged = append(w.merged, root)
		}
	}
	return survivor
}

func (w *work) identifier(s *slot) Identifier {
	return Identifier{Type: w.rules[s.rank].Type, Value: s.value}
}

// changes gathers the rows, each as it stands after the batch.
func (w *work) changes() Changes {
	c := Changes{Edges: w.edges, Next: w.next, Version: w.batch.Last, Assigned: make([]uint64, len(w.assigned))}
	for e, s := range w.assigned {
		if s != nil {
			c.Assigned[e] = s.root().ordinal
		}
	}
	for i := range w.slots {
		if s := &w.slots[i]; s.attached {
			c.Attached = append(c.Attached, AttachedRow{w.identifier(s), s.state.root().ordinal, w.batch.Events[s.event].Occurred})
		}
	}
	for _, s := range w.touched {
		root := s.root()
		if root.isNew || root.renamed {
			c.Profiles = append(c.Profiles, ProfileRow{root.ordinal, root.id, root.rank, root.created})
			root.isNew, root.renamed = false, false
		}
	}
	c.Overrides = w.overrides()
	return c
}

// overrides are the profiles that have another survivor than before the batch.
func (w *work) overrides() []OverrideRow {
	var rows []OverrideRow
	done := map[uint64]bool{}
	for _, s := range w.merged {
		root := s.root()
		for _, m := range root.absorbed {
			moved := m.Ordinal == s.ordinal || slices.ContainsFunc(s.absorbed, func(x Merge) bool { return x.Ordinal == m.Ordinal })
			if moved && !done[m.Ordinal] {
				done[m.Ordinal] = true
				rows = append(rows, OverrideRow{m, root.ordinal})
			}
		}
	}
	// A state from the cache has its merges in the order that they came in, one from the store has not.
	slices.SortFunc(rows, func(a, b OverrideRow) int { return cmp.Compare(a.Ordinal, b.Ordinal) })
	return rows
}
