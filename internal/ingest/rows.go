package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/account"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse"
)

// Types that columns are sent as. LowCardinality columns are sent as String, which the store casts.
const (
	typeString = "String"
	typeUInt64 = "UInt64"
	typeMillis = "DateTime64(3, 'UTC')"
	typeHash   = "FixedString(16)"
)

// table is the rows of a batch for one table.
type table struct {
	name string
	// once marks a table that only grows: its inserts carry a token, for its rows do not replace their equals.
	once    bool
	columns []warehouse.Column
}

// rows of a batch for all tables: the lane of events, which are many, and that of all others.
func rows(events []event.Event, hashes []messageHash, rejections []event.Rejection, c identity.Changes, more ...table) [2][]table {
	accountTraits, accountMembers := account.Fold(events, c.Assigned)
	return [2][]table{
		{eventRows(events, c.Assigned)},
		append([]table{
			profileRows(c), identityRows(c), memberRows(c), overrideRows(c), edgeRows(c, events),
			traitRows(profile.Fold(events, c.Assigned)), accountTraitRows(accountTraits), accountMemberRows(accountMembers),
			quarantineRows(rejections), messageRows(events, hashes),
		}, more...),
	}
}

// column makes a column of a field of each row.
func column[R, V any](name, kind string, rows []R, field func(*R) V) warehouse.Column {
	values := make([]V, len(rows))
	for i := range rows {
		values[i] = field(&rows[i])
	}
	return warehouse.Column{Name: name, Type: kind, Values: values}
}

func eventRows(events []event.Event, assigned []uint64) table {
	text := func(name string, field func(*event.Event) string) warehouse.Column {
		return column(name, typeString, events, field)
	}
	return table{"events", true, []warehouse.Column{
		text("event", func(e *event.Event) string { return e.Name }),
		text("type", func(e *event.Event) string { return e.Type }),
		{Name: "profile", Type: typeUInt64, Values: assigned},
		column("occurred", typeMillis, events, func(e *event.Event) time.Time { return e.Occurred }),
		column("received", typeMillis, events, func(e *event.Event) time.Time { return e.Received }),
		text("message_id", func(e *event.Event) string { return e.MessageID }),
		text("source", func(e *event.Event) string { return e.Source }),
		text("party", func(e *event.Event) string { return e.Party }),
		text("user_id", func(e *event.Event) string { return e.UserID }),
		text("anonymous_id", func(e *event.Event) string { return e.AnonymousID }),
		text("properties", func(e *event.Event) string { return e.Properties }),
		text("context", func(e *event.Event) string { return e.Context }),
		column("seq", typeUInt64, events, func(e *event.Event) uint64 { return e.Seq }),
	}}
}

func messageRows(events []event.Event, hashes []messageHash) table {
	n := len(events)
	seqs, received, kept := make([]uint64, 0, n), make([]time.Time, 0, n), make([]messageHash, 0, n)
	for i := range events {
		if events[i].Derived {
			continue
		}
		seqs, kept = append(seqs, events[i].Seq), append(kept, hashes[i])
		received = append(received, clampSeconds(events[i].Received))
	}
	return table{"message_ids", true, []warehouse.Column{
		{Name: "hash", Type: typeHash, Values: kept},
		{Name: "received", Type: "DateTime('UTC')", Values: received},
		{Name: "seq", Type: typeUInt64, Values: seqs},
	}}
}

// clampSeconds keeps a time inside the warehouse's DateTime, 32 bits of seconds since 1970.
func clampSeconds(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), 1<<32-1), 0).UTC()
}

// version makes the column that is the same in all rows of a batch.
func version(rows int, v uint64) warehouse.Column {
	values := make([]uint64, rows)
	for i := range values {
		values[i] = v
	}
	return warehouse.Column{Name: "version", Type: typeUInt64, Values: values}
}

func profileRows(c identity.Changes) table {
	r := c.Profiles
	return table{"profiles", false, []warehouse.Column{
		column("profile", typeUInt64, r, func(r *identity.ProfileRow) uint64 { return r.Profile }),
		column("id", "UUID", r, func(r *identity.ProfileRow) uuid.UUID { return r.ID }),
		column("rank", "UInt32", r, func(r *identity.ProfileRow) uint32 { return r.Rank }),
		column("created", typeMillis, r, func(r *identity.ProfileRow) time.Time { return r.Created }),
		version(len(r), c.Version),
	}}
}

func identityRows(c identity.Changes) table {
	return table{"identities", false, attachedColumns(c)}
}

func memberRows(c identity.Changes) table {
	return table{"profile_identifiers", false, attachedColumns(c)}
}

func attachedColumns(c identity.Changes) []warehouse.Column {
	r := c.Attached
	return []warehouse.Column{
		column("profile", typeUInt64, r, func(r *identity.AttachedRow) uint64 { return r.Profile }),
		column("type", typeString, r, func(r *identity.AttachedRow) string { return r.Type }),
		column("value", typeString, r, func(r *identity.AttachedRow) string { return r.Value }),
		column("since", typeMillis, r, func(r *identity.AttachedRow) time.Time { return r.Since }),
		version(len(r), c.Version),
	}
}

func overrideRows(c identity.Changes) table {
	r := c.Overrides
	return table{"profile_overrides", false, []warehouse.Column{
		column("profile", typeUInt64, r, func(r *identity.OverrideRow) uint64 { return r.Ordinal }),
		column("survivor", typeUInt64, r, func(r *identity.OverrideRow) uint64 { return r.Survivor }),
		column("parent", typeUInt64, r, func(r *identity.OverrideRow) uint64 { return r.Parent }),
		column("merged", typeUInt64, r, func(r *identity.OverrideRow) uint64 { return r.Version }),
		version(len(r), c.Version),
	}}
}

func edgeRows(c identity.Changes, events []event.Event) table {
	r := c.Edges
	text := func(name string, field func(*identity.EdgeRow) string) warehouse.Column {
		return column(name, typeString, r, field)
	}
	return table{"identity_edges", true, []warehouse.Column{
		text("a_type", func(r *identity.EdgeRow) string { return r.A.Type }),
		text("a_value", func(r *identity.EdgeRow) string { return r.A.Value }),
		text("b_type", func(r *identity.EdgeRow) string { return r.B.Type }),
		text("b_value", func(r *identity.EdgeRow) string { return r.B.Value }),
		text("message_id", func(r *identity.EdgeRow) string { return events[r.Event].MessageID }),
		text("source", func(r *identity.EdgeRow) string { return events[r.Event].Source }),
		column("occurred", typeMillis, r, func(r *identity.EdgeRow) time.Time { return events[r.Event].Occurred }),
		column("received", typeMillis, r, func(r *identity.EdgeRow) time.Time { return events[r.Event].Received }),
		column("seq", typeUInt64, r, func(r *identity.EdgeRow) uint64 { return events[r.Event].Seq }),
	}}
}

func traitRows(r []profile.TraitRow) table {
	text := func(name string, field func(*profile.TraitRow) string) warehouse.Column {
		return column(name, typeString, r, field)
	}
	return table{"traits", false, []warehouse.Column{
		column("profile", typeUInt64, r, func(r *profile.TraitRow) uint64 { return r.Profile }),
		text("name", func(r *profile.TraitRow) string { return r.Name }),
		text("value", func(r *profile.TraitRow) string { return r.Value }),
		text("source", func(r *profile.TraitRow) string { return r.Source }),
		text("party", func(r *profile.TraitRow) string { return r.Party }),
		column("occurred", typeMillis, r, func(r *profile.TraitRow) time.Time { return r.Occurred }),
		column("seq", typeUInt64, r, func(r *profile.TraitRow) uint64 { return r.Seq }),
	}}
}

func accountTraitRows(r []account.TraitRow) table {
	text := func(name string, field func(*account.TraitRow) string) warehouse.Column {
		return column(name, typeString, r, field)
	}
	return table{"account_traits", false, []warehouse.Column{
		text("account", func(r *account.TraitRow) string { return r.Account }),
		text("name", func(r *account.TraitRow) string { return r.Name }),
		text("value", func(r *account.TraitRow) string { return r.Value }),
		text("source", func(r *account.TraitRow) string { return r.Source }),
		text("party", func(r *account.TraitRow) string { return r.Party }),
		column("occurred", typeMillis, r, func(r *account.TraitRow) time.Time { return r.Occurred }),
		column("seq", typeUInt64, r, func(r *account.TraitRow) uint64 { return r.Seq }),
	}}
}

func accountMemberRows(r []account.MemberRow) table {
	return table{"account_members", false, []warehouse.Column{
		column("account", typeString, r, func(r *account.MemberRow) string { return r.Account }),
		column("profile", typeUInt64, r, func(r *account.MemberRow) uint64 { return r.Profile }),
		column("since", typeMillis, r, func(r *account.MemberRow) time.Time { return r.Since }),
		column("seen", typeMillis, r, func(r *account.MemberRow) time.Time { return r.Seen }),
	}}
}

func quarantineRows(r []event.Rejection) table {
	text := func(name string, field func(*event.Rejection) string) warehouse.Column {
		return column(name, typeString, r, field)
	}
	return table{"quarantine", true, []warehouse.Column{
		text("source", func(r *event.Rejection) string { return r.Source }),
		text("party", func(r *event.Rejection) string { return r.Party }),
		text("stage", func(r *event.Rejection) string { return r.Stage }),
		text("reason", func(r *event.Rejection) string { return r.Reason }),
		text("message", func(r *event.Rejection) string { return r.Message }),
		text("original", func(r *event.Rejection) string { return r.Original }),
		text("record", func(r *event.Rejection) string { return r.Record }),
		column("received", typeMillis, r, func(r *event.Rejection) time.Time { return r.Received }),
		column("seq", typeUInt64, r, func(r *event.Rejection) uint64 { return r.Seq }),
	}}
}

// insert stores the rows of one table.
func (w *writer) insert(ctx context.Context, p plan, t table) error { return w.insertAs(ctx, p, t, "") }

// insertAs is insert for one of several, told apart by suffix.
func (w *writer) insertAs(ctx context.Context, p plan, t table, suffix string) error {
	token := ""
	if t.once {
		token = fmt.Sprintf("%s-%d-%d%s", t.name, p.first, p.last, suffix)
	}
	return w.retry(ctx, func() error {
		if err := w.stillMine(ctx, p); err != nil {
			return err
		}
		return warehouse.Insert(ctx, w.conn, t.name, token, t.columns...)
	})
}
