package identity

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Store tells a [Resolver] what was decided before a batch.
//
// Both methods answer as of a version: as if no row of that version or later were there. Versions are places in the
// stream, so a batch that is replayed sees what it saw the first time, however much of it was stored before the crash.
type Store interface {
	// Ordinals gives the profile that each identifier was attached to, 0 for none, in the order of ids. The profile may
	// have been merged since.
	Ordinals(ctx context.Context, ids []Identifier, before uint64) ([]uint64, error)
	// Profiles gives, for each ordinal, the profile that it belongs to, itself or the survivor of its merges. Since is
	// wanted of the types in timed only.
	Profiles(ctx context.Context, ordinals []uint64, timed []string, before uint64) ([]Profile, error)
	// Learn says which identifiers a batch attaches: before the next batch they will be there.
	Learn(attached []AttachedRow)
}

// Profile is what a decision needs to know of a customer.
type Profile struct {
	Ordinal uint64
	ID      uuid.UUID
	Rank    uint32 // priority of the identifier that ID was made of
	Created time.Time
	// Counts are the numbers of identifiers by type.
	Counts map[string]int
	// Since are the times of the first events with the identifiers of a type, in Unix milliseconds and no order.
	Since map[string][]int64
	// Absorbed are the profiles that were merged into this one, directly or not.
	Absorbed []Merge
	// Cuts are the sides of cuts that the profile has identifiers of.
	Cuts []CutEnd
}

// Merge tells when a profile ended and which one took it then. It never changes.
type Merge struct {
	Ordinal, Parent, Version uint64
}

// Changes are the rows that a batch adds to the warehouse, and where its events belong. Each is the state after the
// whole batch.
type Changes struct {
	// Profiles that are new or have a new id.
	Profiles []ProfileRow
	// Attached identifiers, each new.
	Attached []AttachedRow
	// Overrides of profiles that were merged, or whose survivor was.
	Overrides []OverrideRow
	// Edges are identifiers seen together. One that was written lately may be left out.
	Edges []EdgeRow
	// Assigned gives each event's profile, 0 where no identifier is left to go by.
	Assigned []uint64
	// Next is the lowest ordinal that is free after the batch.
	Next uint64
	// Version of all rows.
	Version uint64
}

// ProfileRow is a row of profiles.
type ProfileRow struct {
	Profile uint64
	ID      uuid.UUID
	Rank    uint32
	Created time.Time
}

// AttachedRow is a row of identities and of profile_identifiers.
type AttachedRow struct {
	Identifier
	Profile uint64
	Since   time.Time
}

// OverrideRow is a row of profile_overrides.
type OverrideRow struct {
	Merge
	Survivor uint64
}

// EdgeRow is a row of identity_edges: A has the higher priority.
type EdgeRow struct {
	A, B  Identifier
	Event int // index in the batch
}
