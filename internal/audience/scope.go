package audience

import (
	"fmt"
	"strconv"
	"strings"
)

// Scope is the part of all profiles that a statement is about.
type Scope interface {
	// filter is the SQL condition that a row, whose column profile may hold one that was merged, belongs to the scope;
	// empty for all.
	filter() string
	// where is the WHERE clause that leaves only surviving profiles of the scope; empty when filter does.
	where(profile string) string
	// Has is the SQL condition that a profile is in the scope, as it stands; empty for all.
	Has(profile string) string
}

// Bucket is one of Count equal parts of all profiles, for what is kept in memory while a statement runs grows with the
// profiles it looks at. The zero Bucket is all of them.
type Bucket struct{ Index, Count int }

func (b Bucket) filter() string {
	if b.Count < 2 {
		return ""
	}
	return fmt.Sprintf("if(profile IN (SELECT profile FROM profile_overrides), profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor %% %d = %d), profile %% %d = %d)",
		b.Count, b.Index, b.Count, b.Index)
}

func (Bucket) where(string) string { return "" }

// Has is the SQL condition that a resolved profile is in the bucket; empty for all.
func (b Bucket) Has(profile string) string {
	if b.Count < 2 {
		return ""
	}
	return fmt.Sprintf("%s %% %d = %d", profile, b.Count, b.Index)
}

// Profiles are some profiles, at least one. Members are found for those that survive at the moment that the statement
// runs: those merged a moment before are told by the next.
type Profiles []uint64

func (s Profiles) list() string {
	texts := make([]string, len(s))
	for i, profile := range s {
		texts[i] = strconv.FormatUint(profile, 10)
	}
	return strings.Join(texts, ", ")
}

func (s Profiles) filter() string {
	list := s.list()
	return "profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor IN (" + list + ") UNION ALL SELECT arrayJoin([" + list + "]))"
}

func (s Profiles) where(profile string) string { return "\nWHERE " + s.Has(profile) }

// Has is the SQL condition that a profile is one of them.
func (s Profiles) Has(profile string) string { return profile + " IN (" + s.list() + ")" }
