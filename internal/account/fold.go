package account

import (
	"time"

	"kohort.dev/kohort/internal/event"
)

// TraitRow is a row of the table account_traits. A value of null says that the trait was deleted then.
type TraitRow struct {
	Account       string
	Name, Value   string
	Source, Party string
	Occurred      time.Time
	Seq           uint64
}

// MemberRow is a row of the table account_members.
type MemberRow struct {
	Account     string
	Profile     uint64
	Since, Seen time.Time
}

// Fold gives what group events leave behind: of each account's trait the latest by event time, of several at the same
// time the last; and each member once, with the first and the last time that it was seen. assigned is each event's
// profile; 0 is nobody.
func Fold(events []event.Event, assigned []uint64) ([]TraitRow, []MemberRow) {
	f := folder{traitAt: map[traitKey]int{}, memberAt: map[memberKey]int{}}
	for i := range events {
		if events[i].Account != nil && assigned[i] != 0 {
			f.add(&events[i], assigned[i])
		}
	}
	return f.traits, f.members
}

type traitKey struct{ account, name string }

type memberKey struct {
	account string
	profile uint64
}

type folder struct {
	traits   []TraitRow
	members  []MemberRow
	traitAt  map[traitKey]int
	memberAt map[memberKey]int
}

func (f *folder) add(e *event.Event, profile uint64) {
	member := memberKey{e.Account.ID, profile}
	if at, ok := f.memberAt[member]; !ok {
		f.memberAt[member] = len(f.members)
		f.members = append(f.members, MemberRow{e.Account.ID, profile, e.Occurred, e.Occurred})
	} else {
		row := &f.members[at]
		if e.Occurred.Before(row.Since) {
			row.Since = e.Occurred
		}
		if e.Occurred.After(row.Seen) {
			row.Seen = e.Occurred
		}
	}
	for _, t := range e.Account.Traits {
		row := TraitRow{e.Account.ID, t.Name, t.Value, e.Source, e.Party, e.Occurred, e.Seq}
		key := traitKey{row.Account, row.Name}
		at, ok := f.traitAt[key]
		switch {
		case !ok:
			f.traitAt[key] = len(f.traits)
			f.traits = append(f.traits, row)
		case !row.Occurred.Before(f.traits[at].Occurred):
			f.traits[at] = row
		}
	}
}
