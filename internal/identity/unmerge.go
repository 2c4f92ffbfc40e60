package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/warehouse"
)

// Unmerge is a cut as it was decided, which is all that has to be known to carry it out.
type Unmerge struct {
	Cut Identifier
	// Against is the other side, empty when the request was refused.
	Against []Identifier
	// Profile that it is cut out of, which keeps its ordinal and its name.
	Profile uint64
	// Moved are the identifiers that go to new profiles. Kept are the others; it is not recorded.
	Moved, Kept []AttachedRow
	// Refusal is why there is nothing to carry out, empty when there is.
	Refusal string
}

// Codes of refusals.
const (
	RefusedUnknown = "ProfileNotFound"
	RefusedNotOne  = "NotOneProfile"
	RefusedAlone   = "NothingToCut"
	RefusedTied    = "StillTied"
)

// Refusal is the code of an error of [Decide]; empty when it says nothing about the request.
func Refusal(err error) string {
	for target, code := range map[error]string{ErrUnknown: RefusedUnknown, ErrNotOne: RefusedNotOne, ErrAlone: RefusedAlone, ErrTied: RefusedTied} {
		if errors.Is(err, target) {
			return code
		}
	}
	return ""
}

// Decide works out what a cut does to a profile as it is now. New profiles get ordinals from next on.
func Decide(ctx context.Context, conn driver.Conn, c Cut, next uint64) (Unmerge, error) {
	u := Unmerge{Cut: c.Identifier}
	root, since, err := membersOf(ctx, conn, c.Identifier)
	if err != nil {
		return u, fmt.Errorf("reading the identifiers of the profile of %s: %w", c.Type, err)
	}
	if root == 0 {
		return u, fmt.Errorf("%s: %w", c.Type, ErrUnknown)
	}
	u.Profile = root
	known := map[Identifier]bool{}
	members := make([]Identifier, 0, len(since))
	for id := range since {
		known[id] = true
		members = append(members, id)
	}
	if (c.From != Identifier{}) && (!known[c.From] || c.From == c.Identifier) {
		return u, ErrNotOne
	}
	links, err := linksAmong(ctx, conn, known)
	if err != nil {
		return u, fmt.Errorf("reading what ties identifiers together: %w", err)
	}
	var name uuid.UUID
	if err := conn.QueryRow(ctx, "SELECT id FROM profiles FINAL WHERE profile = "+number(root)).Scan(&name); err != nil {
		return u, fmt.Errorf("reading the name of profile %d: %w", root, err)
	}
	p, err := split(members, links, c, name)
	if err != nil {
		return u, err
	}
	u.Against = p.against
	for _, id := range p.kept {
		u.Kept = append(u.Kept, AttachedRow{id, root, since[id]})
	}
	for i, part := range p.parts {
		for _, id := range part {
			u.Moved = append(u.Moved, AttachedRow{id, next + uint64(i), since[id]})
		}
	}
	return u, nil
}

// Columns are the rows of identity_cuts that record an unmerge, which message seq asked for at a time.
func (u Unmerge) Columns(seq uint64, at time.Time) []warehouse.Column {
	var roles, types, values, reasons []string
	var profiles, seqs []uint64
	var since, times []time.Time
	row := func(role string, m AttachedRow) {
		roles, types, values, profiles, since = append(roles, role), append(types, m.Type), append(values, m.Value), append(profiles, m.Profile), append(since, m.Since)
		seqs, times, reasons = append(seqs, seq), append(times, at), append(reasons, u.Refusal)
	}
	if u.Refusal != "" {
		row("refused", AttachedRow{u.Cut, 0, at})
	} else {
		row("cut", AttachedRow{u.Cut, u.Profile, at})
	}
	for _, id := range u.Against {
		row("against", AttachedRow{id, u.Profile, at})
	}
	for _, m := range u.Moved {
		row("moved", m)
	}
	return []warehouse.Column{
		{Name: "seq", Type: "UInt64", Values: seqs}, {Name: "role", Type: "String", Values: roles}, {Name: "type", Type: "String", Values: types},
		{Name: "value", Type: "String", Values: values}, {Name: "profile", Type: "UInt64", Values: profiles},
		{Name: "since", Type: "DateTime64(3, 'UTC')", Values: since}, {Name: "reason", Type: "String", Values: reasons},
		{Name: "at", Type: "DateTime64(3, 'UTC')", Values: times},
	}
}

// Recorded gives what message seq was decided to do, nil when that is not decided yet.
func Recorded(ctx context.Context, conn driver.Conn, seq uint64) (*Unmerge, error) {
	var u *Unmerge
	err := warehouse.Each(ctx, conn, "SELECT toString(role), type, value, profile, since, reason FROM identity_cuts WHERE seq = "+number(seq)+" ORDER BY role, profile, type, value", func(rows driver.Rows) error {
		var role, reason string
		var m AttachedRow
		err := rows.Scan(&role, &m.Type, &m.Value, &m.Profile, &m.Since, &reason)
		if u == nil {
			u = &Unmerge{}
		}
		switch role {
		case "cut", "refused":
			u.Cut, u.Profile, u.Refusal = m.Identifier, m.Profile, reason
		case "against":
			u.Against = append(u.Against, m.Identifier)
		case "moved":
			u.Moved = append(u.Moved, m)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what message %d cut apart: %w", seq, err)
	}
	return u, nil
}

// membersOf gives the profile that id belongs to, 0 for none, and its identifiers with the time that each is known since.
func membersOf(ctx context.Context, conn driver.Conn, id Identifier) (root uint64, since map[Identifier]time.Time, err error) {
	err = warehouse.Each(ctx, conn, `SELECT if(o.survivor = 0, i.profile, o.survivor) FROM identities AS i
		LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = i.profile
		WHERE i.type = `+quote(id.Type)+" AND i.value = "+quote(id.Value)+" ORDER BY i.version DESC LIMIT 1",
		func(rows driver.Rows) error { return rows.Scan(&root) })
	if err != nil || root == 0 {
		return 0, nil, err
	}
	since = map[Identifier]time.Time{}
	err = warehouse.Each(ctx, conn, fmt.Sprintf(`SELECT type, value, since FROM profile_identifiers FINAL
		WHERE profile IN (SELECT toUInt64(%[1]d) UNION ALL SELECT profile FROM profile_overrides FINAL WHERE survivor = %[1]d)`, root), func(rows driver.Rows) error {
		var member Identifier
		var at time.Time
		err := rows.Scan(&member.Type, &member.Value, &at)
		since[member] = at
		return err
	})
	return root, since, err
}

// parted are the ends of a cut among identifiers.
type parted struct {
	at   time.Time
	ends map[Identifier]bool // whether it is on the other side
}

// cutsAmong gives the cuts that some of the identifiers are ends of, by message.
func cutsAmong(ctx context.Context, conn driver.Conn, in string) (map[uint64]parted, error) {
	cuts := map[uint64]parted{}
	err := warehouse.Each(ctx, conn, `SELECT seq, role = 'against', type, value, at FROM identity_cuts WHERE role IN ('cut', 'against') AND (type, value) IN `+in, func(rows driver.Rows) error {
		var seq uint64
		var against uint8
		var id Identifier
		var at time.Time
		err := rows.Scan(&seq, &against, &id.Type, &id.Value, &at)
		if _, is := cuts[seq]; !is {
			cuts[seq] = parted{at, map[Identifier]bool{}}
		}
		cuts[seq].ends[id] = against == 1
		return err
	})
	return cuts, err
}

// isCut says whether a and b are on different sides of one of the cuts.
func isCut(cuts map[uint64]parted, a, b Identifier) bool {
	for _, c := range cuts {
		x, has := c.ends[a]
		y, too := c.ends[b]
		if has && too && x != y {
			return true
		}
	}
	return false
}
