package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/event"
)

// Cut takes an identifier out of its profile: away from all others of it or, with From, away from that one alone. Both
// are normalised.
//
// What a cut has parted stays parted: no profile ever holds identifiers of both its sides, whatever events say, for a
// person has looked and events have not. An event that carries both is that of the one of higher priority.
type Cut struct {
	Identifier
	From Identifier // zero for all
}

// CutEnd says that a profile has an identifier of one side of a cut.
type CutEnd struct {
	Cut     uint64 // message of the stream that asked for it
	Against bool   // the other side
}

// Why nothing can be cut, beside [ErrUnknown] and [ErrNotOne].
var (
	ErrAlone = errors.New("the profile has no other identifier to cut it from")
	ErrTied  = errors.New("they are still tied in another way")
)

// Tied is the [ErrTied] of two identifiers that hang together without the edge between them.
type Tied struct{ Links []Link }

func (t Tied) Error() string {
	chain := []string{}
	for i, l := range t.Links {
		if i == 0 {
			chain = append(chain, l.From.Type+":"+l.From.Value)
		}
		chain = append(chain, l.To.Type+":"+l.To.Value)
	}
	return fmt.Sprintf("%v: %s; cut one of these first, or cut the identifier from all others", ErrTied, strings.Join(chain, " – "))
}

// Is makes it an ErrTied.
func (t Tied) Is(target error) bool { return target == ErrTied }

// pieces is what a cut makes of a profile's identifiers.
type pieces struct {
	kept    []Identifier
	parts   [][]Identifier // each a profile of its own
	against []Identifier   // the other side of the cut
}

// split parts the members of a profile along the connected components of the links that are left. The one that the profile
// is called after stays what it is. Members that no link on record ties to an end of what was cut hung on something else,
// which was erased or has aged out: they stay too, though not with an identifier that is to be alone.
func split(members []Identifier, links []Link, c Cut, name uuid.UUID) (pieces, error) {
	if len(members) < 2 {
		return pieces{}, ErrAlone
	}
	all := c.From == Identifier{}
	next := map[Identifier][]Identifier{}
	ends := map[Identifier]bool{c.Identifier: true, c.From: true}
	var left []Link
	for _, l := range links {
		one, other := l.From == c.Identifier, l.To == c.Identifier
		if (one && (all || l.To == c.From)) || (other && (all || l.From == c.From)) {
			ends[l.From], ends[l.To] = true, true
			continue
		}
		left = append(left, l)
		next[l.From], next[l.To] = append(next[l.From], l.To), append(next[l.To], l.From)
	}
	if !all {
		if chain := shortest(left, c.Identifier, c.From); chain != nil {
			return pieces{}, Tied{chain}
		}
	}
	members = slices.Clone(members)
	slices.SortFunc(members, Identifier.compare)
	p := pieces{against: []Identifier{c.From}}
	if all {
		p.against = slices.DeleteFunc(slices.Clone(members), func(id Identifier) bool { return id == c.Identifier })
	}
	var rest []Identifier
	seen := map[Identifier]bool{}
	for _, start := range members {
		part := reach(start, next, seen)
		isEnd := slices.ContainsFunc(part, func(id Identifier) bool { return ends[id] })
		named := slices.ContainsFunc(part, func(id Identifier) bool { return id.ID() == name })
		switch {
		case named:
			p.kept = append(part, p.kept...)
		case isEnd:
			p.parts = append(p.parts, part)
		default:
			rest = append(rest, part...)
		}
	}
	switch {
	case len(rest) == 0:
	case all && slices.Contains(p.kept, c.Identifier):
		p.parts = append(p.parts, rest)
	default:
		p.kept = append(p.kept, rest...)
	}
	if len(p.kept) == 0 { // the identifier of its name was erased
		i := slices.IndexFunc(p.parts, func(part []Identifier) bool { return !slices.Contains(part, c.Identifier) })
		p.kept = p.parts[i]
		p.parts = slices.Delete(p.parts, i, i+1)
	}
	for _, part := range append(p.parts, p.kept) {
		slices.SortFunc(part, Identifier.compare)
	}
	return p, nil
}

// reach gives what hangs together with start and was not seen before, and marks it as seen.
func reach(start Identifier, next map[Identifier][]Identifier, seen map[Identifier]bool) []Identifier {
	var part []Identifier
	for queue := []Identifier{start}; len(queue) > 0; queue = queue[1:] {
		if !seen[queue[0]] {
			seen[queue[0]] = true
			part = append(part, queue[0])
			queue = append(queue, next[queue[0]]...)
		}
	}
	return part
}

func (i Identifier) compare(other Identifier) int {
	if n := strings.Compare(i.Type, other.Type); n != 0 {
		return n
	}
	return strings.Compare(i.Value, other.Value)
}

// Name gives the public id of a profile with these identifiers, and its rank.
func Name(rules []Rule, ids []Identifier) (uint32, uuid.UUID) {
	s := state{rank: unnamed}
	for _, id := range ids {
		rank := slices.IndexFunc(rules, func(r Rule) bool { return r.Type == id.Type })
		if rank < 0 {
			rank = len(rules) // known from the time of other rules
		}
		s.name(uint32(rank), id.ID())
	}
	return s.rank, s.id
}

// Owners gives, for each event, the profile of its identifier of the highest priority among those that owner knows; 0 when
// it knows none.
func Owners(rules []Rule, events []event.Event, owner map[Identifier]uint64) []uint64 {
	w := work{rules: rules, batch: Batch{Events: events}}
	w.collect()
	out := make([]uint64, len(events))
	for e := range events {
		best := len(rules)
		for _, r := range w.refs[w.starts[e]:w.starts[e+1]] {
			for _, i := range []int{r.slot, r.otherwise} {
				if i < 0 || w.slots[i].rank >= best {
					continue
				}
				if profile, ok := owner[w.identifier(&w.slots[i])]; ok {
					out[e], best = profile, w.slots[i].rank
				}
			}
		}
	}
	return out
}

// withoutCut leaves out of ids, in order of priority, what was cut apart from one before it, and gives both.
func (w *work) withoutCut(ids []int) (kept, cut []int) {
	var held []CutEnd
	for n, i := range ids {
		s := w.slots[i].state
		var ends []CutEnd
		if s != nil {
			ends = s.root().cuts
		}
		if oppose(held, ends) {
			if kept == nil {
				kept = slices.Clone(ids[:n])
			}
			cut = append(cut, i)
			continue
		}
		held = append(held, ends...)
		if kept != nil {
			kept = append(kept, i)
		}
	}
	if kept == nil {
		return ids, nil
	}
	return kept, cut
}

// oppose says whether a and b have different sides of a cut.
func oppose(a, b []CutEnd) bool {
	return slices.ContainsFunc(a, func(end CutEnd) bool {
		return slices.Contains(b, CutEnd{end.Cut, !end.Against})
	})
}
