package identity

import (
	"bytes"
	"math"
	"time"

	"github.com/google/uuid"
)

// state is a profile in memory.
type state struct {
	ordinal  uint64
	id       uuid.UUID
	rank     uint32
	created  time.Time
	counts   []int32 // by rank
	absorbed []Merge
	into     *state // the profile that it was merged into, in this batch
	isNew    bool   // made in this batch
	renamed  bool   // has another id than before this batch
}

// unnamed is the rank of a profile that no identifier has named yet.
const unnamed = math.MaxUint32

func newState(p Profile, rules []Rule) *state {
	s := &state{ordinal: p.Ordinal, id: p.ID, rank: p.Rank, created: p.Created, absorbed: p.Absorbed, counts: make([]int32, len(rules))}
	if p.ID == uuid.Nil {
		s.rank = unnamed
	}
	for i, r := range rules {
		s.counts[i] = int32(p.Counts[r.Type])
	}
	return s
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
	s.absorbed = append(s.absorbed, other.absorbed...)
	if !other.isNew { // what was made in this batch was never stored
		s.absorbed = append(s.absorbed, Merge{Ordinal: other.ordinal, Parent: s.ordinal, Version: version})
	}
	if other.rank != unnamed {
		s.name(other.rank, other.id)
	}
}
