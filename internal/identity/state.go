package identity

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
)

// state is a profile in memory.
type state struct {
	ordinal  uint64
	id       uuid.UUID
	rank     uint32
	created  time.Time
	counts   []int32   // by rank
	times    [][]int64 // by rank, when each identifier was first seen, in Unix milliseconds; nil unless a rule has a window
	absorbed []Merge
	cuts     []CutEnd
	into     *state // the profile that it was merged into, in this batch
	isNew    bool   // made in this batch
	renamed  bool   // has another id than before this batch
}

// unnamed is the rank of a profile that no identifier has named yet.
const unnamed = math.MaxUint32

func newState(p Profile, rules []Rule) *state {
	s := &state{ordinal: p.Ordinal, id: p.ID, rank: p.Rank, created: p.Created, absorbed: p.Absorbed, cuts: p.Cuts, counts: make([]int32, len(rules)), times: times(rules)}
	if p.ID == uuid.Nil {
		s.rank = unnamed
	}
	for i, r := range rules {
		s.counts[i] = int32(p.Counts[r.Type])
		if r.windowed() {
			s.times[i] = p.Since[r.Type]
		}
	}
	return s
}

// times is room for the times of the types that are limited by time, nil when there is none.
func times(rules []Rule) [][]int64 {
	if !slices.ContainsFunc(rules, Rule.windowed) {
		return nil
	}
	return make([][]int64, len(rules))
}

// add counts an identifier that was first seen at a time.
func (s *state) add(rank int, rule *Rule, at int64) {
	s.counts[rank]++
	if rule.windowed() {
		s.times[rank] = append(s.times[rank], at)
	}
}

// size is how many identifiers the profile has.
func (s *state) size() int {
	n := 0
	for _, count := range s.counts {
		n += int(count)
	}
	return n
}

// root is the profile that s belongs to now.
func (s *state) root() *state {
	for s.into != nil {
		s = s.into
	}
	return s
}

// name gives the profile an id that it may take or not: the least of (rank, id) is its own.
func (s *state) name(rank uint32, id uuid.UUID) {
	if rank > s.rank || (rank == s.rank && bytes.Compare(id[:], s.id[:]) >= 0) {
		return
	}
	s.rank, s.id, s.renamed = rank, id, true
}

// absorb merges other into s.
func (s *state) absorb(other *state, version uint64) {
	other.into = s
	for rank, n := range other.counts {
		s.counts[rank] += n
	}
	for rank, times := range other.times {
		s.times[rank] = append(s.times[rank], times...)
	}
	s.absorbed = append(s.absorbed, other.absorbed...)
	s.cuts = append(s.cuts, other.cuts...)
	if !other.isNew { // what was made in this batch was never stored
		s.absorbed = append(s.absorbed, Merge{Ordinal: other.ordinal, Parent: s.ordinal, Version: version})
	}
	if other.rank != unnamed {
		s.name(other.rank, other.id)
	}
}
