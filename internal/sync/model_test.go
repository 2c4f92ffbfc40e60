package sync

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/destination"
)

// model is the naive idea of what the warehouse was told.
type model struct {
	base       uint64 // first ordinal, so that schedules share a warehouse
	audience   string
	people     map[uint64]person                  // by ordinal
	set        map[uint64]uint64                  // when the trait of an ordinal was set
	into       map[uint64]uint64                  // merged -> survivor
	entered    map[uint64]uint64                  // the revision by which a member entered
	owners     map[string]uint64                  // by every id that ever was: its ordinal
	sent       map[string]uint64                  // the newest entry that the receiver took, by id
	was        map[string][]destination.Operation // what there was to send, by id, oldest first
	suppressed map[uint64]bool                    // ordinals that must not be at the receiver
	generated  int
}

// newModel makes so many people, of whom the first is a member, and tells the warehouse.
func newModel(base uint64, w *world, count int) *model {
	m := &model{base: base, audience: fmt.Sprint("a", base), people: map[uint64]person{}, set: map[uint64]uint64{}, into: map[uint64]uint64{},
		entered: map[uint64]uint64{}, owners: map[string]uint64{}, sent: map[string]uint64{}, was: map[string][]destination.Operation{}, suppressed: map[uint64]bool{}}
	first := people(base+1, base+uint64(count))
	w.know(first...)
	for _, p := range first {
		m.people[p.profile], m.set[p.profile], m.owners[p.id.String()] = p, w.version, p.profile
	}
	w.evaluate(m.audience + "-not")
	w.enter(m.audience, first[0].profile)
	m.entered[first[0].profile] = w.version
	m.note()
	return m
}

func (m *model) resolve(n uint64) uint64 {
	if survivor, ok := m.into[n]; ok {
		return survivor
	}
	return n
}

// members gives what the destination is to be sent of each member, by id.
func (m *model) members() map[string]destination.Operation {
	all := map[string]destination.Operation{}
	for n := range m.entered {
		whose := m.resolve(n)
		if m.isSuppressed(whose) {
			continue
		}
		o := destination.Operation{Op: destination.OpUpsert, ID: m.people[whose].id.String(), Traits: map[string]json.RawMessage{"tariff": json.RawMessage("null")}}
		names, newest := identifiers{}, uint64(0)
		for other, p := range m.people {
			if m.resolve(other) != whose {
				continue
			}
			names = names.with(p.identifiers)
			if at := m.set[other]; at > newest {
				newest, o.Traits["tariff"] = at, json.RawMessage(p.traits["plan"])
			}
		}
		o.Identifiers = names
		all[o.ID] = o
	}
	return all
}

// isSuppressed says whether a survivor must not be at the receiver.
func (m *model) isSuppressed(whose uint64) bool {
	for n := range m.suppressed {
		if m.resolve(n) == whose {
			return true
		}
	}
	return false
}

// mustGo says whether an id must not be at the receiver in a mode.
func (m *model) mustGo(mode, id string, want map[string]destination.Operation) bool {
	_, member := want[id]
	return m.isSuppressed(m.resolve(m.owners[id])) || !member && (mode == ModeMirror || mode == ModeAddRemove)
}

// survivors are the ordinals that were not merged away.
func (m *model) survivors() []uint64 {
	var all []uint64
	for n := range m.people {
		if m.resolve(n) == n {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// change does something at random to the model and tells the warehouse.
func (m *model) change(t *rapid.T, w *world) {
	defer m.note()
	n := rapid.SampledFrom(m.survivors()).Draw(t, "who")
	switch rapid.SampledFrom([]string{"enter", "enter", "leave", "trait", "trait", "merge", "id", "suppress"}).Draw(t, "change") {
	case "enter":
		if m.entered[n] == 0 {
			w.membership(m.audience, 0, []uint64{n})
			m.entered[n] = w.version
		}
	case "leave":
		for other := range maps.Clone(m.entered) {
			if m.resolve(other) == n {
				delete(m.entered, other)
				w.membership(m.audience, 1, []uint64{other})
			}
		}
	case "trait":
		p := m.people[n]
		p.traits = map[string]string{"plan": rapid.SampledFrom([]string{`"free"`, `"pro"`, "3", bad, "null"}).Draw(t, "plan")}
		m.people[n] = p
		w.describe([]uint64{n}, []string{"plan"}, []string{p.traits["plan"]})
		m.set[n] = w.version
	case "suppress":
		if m.isSuppressed(n) {
			for other := range maps.Clone(m.suppressed) {
				if m.resolve(other) == n {
					delete(m.suppressed, other)
					w.membership(m.audience+"-not", 1, []uint64{other})
				}
			}
			return
		}
		m.suppressed[n] = true
		w.membership(m.audience+"-not", 0, []uint64{n})
	case "merge":
		other := rapid.SampledFrom(m.survivors()).Draw(t, "into")
		if other == n {
			return
		}
		for merged, survivor := range m.into {
			if survivor == n { // the engine never lets an override point to a merged profile
				m.into[merged] = other
				w.merge(merged, other)
			}
		}
		m.into[n] = other
		w.merge(n, other)
	case "id":
		p := m.people[n]
		m.generated++
		p.id = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, m.base, m.generated))
		m.people[n], m.owners[p.id.String()] = p, n
		w.name([]uint64{n}, []uuid.UUID{p.id})
	}
}

// note remembers what there is to send.
func (m *model) note() {
	for id, o := range m.members() {
		m.was[id] = append(m.was[id], o)
	}
}

// learn takes note of what the receiver took since the last time.
func (m *model) learn(h *hostile) {
	for _, o := range h.log {
		whose := m.resolve(m.owners[o.ID])
		if o.Op == destination.OpUpsert {
			m.sent[o.ID] = max(m.sent[o.ID], m.entry(whose))
		} else {
			delete(m.sent, o.ID)
		}
	}
	identifiersHeld(h.names, h.log)
	h.log = nil
}

// entry is the newest one of a survivor.
func (m *model) entry(whose uint64) (newest uint64) {
	for n, at := range m.entered {
		if m.resolve(n) == whose {
			newest = max(newest, at)
		}
	}
	return newest
}

// isSent says whether the receiver took the newest entry of a survivor.
func (m *model) isSent(whose uint64) bool {
	newest := uint64(0)
	for id, at := range m.sent {
		if m.resolve(m.owners[id]) == whose {
			newest = max(newest, at)
		}
	}
	return newest >= m.entry(whose)
}

// bad counts the members that the receiver would refuse.
func (m *model) bad() (n int) {
	for _, o := range m.members() {
		if string(o.Traits["tariff"]) == bad {
			n++
		}
	}
	return n
}

// plain is an operation as it is in every mode.
func plain(o destination.Operation) destination.Operation {
	o.Entry = 0
	return o
}

// bound is how many rows a run may send at most when nothing is pending.
func (m *model) bound(mode string, held map[string]destination.Operation) (n int) {
	want := m.members()
	for id, o := range want {
		old, holds := held[id]
		switch {
		case mode == ModeAppend:
			if !m.isSent(m.owners[id]) {
				n++
			}
		case !holds, mode != ModeAddRemove && !cmp.Equal(plain(old), o),
			// It may own an identifier of who is taken out.
			mode == ModeAddRemove && !cmp.Equal(old.Identifiers, o.Identifiers):
			n++
		}
	}
	for id := range held {
		if m.mustGo(mode, id, want) {
			n++
		}
	}
	return n
}

// complaint says what the receiver does not have of a member as the mode asks for; empty when all is well.
func (m *model) complaint(mode string, want destination.Operation, before, held map[string]destination.Operation, log []destination.Operation) string {
	o, holds := held[want.ID]
	switch {
	case mode == ModeAppend:
		if !m.isSent(m.owners[want.ID]) {
			return "entered and was not sent"
		}
		return ""
	case !holds:
		return "is not held"
	case mode != ModeAddRemove:
		if !cmp.Equal(plain(o), want) {
			return "is not held as it is"
		}
		return ""
	}
	if old, ok := before[want.ID]; ok && cmp.Equal(old.Identifiers, want.Identifiers) && !cmp.Equal(old, o) &&
		!slices.ContainsFunc(m.was[want.ID], func(was destination.Operation) bool { return cmp.Equal(was, plain(o)) }) {
		return "is held as it never was"
	}
	return ""
}
