package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/account"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/unmerge"
	"kohort.dev/kohort/internal/warehouse"
)

// unmerge takes a batch that cuts an identifier out of its profile through plan, cut, tables and done. What moves is in
// identity_cuts before anything moves: a replay reads it there, for the tables no longer say it.
//
// Rows are first written where they belong and then taken away where they were, so that a crash in between leaves rows
// twice, which the replay ends, and never none.
func (w *writer) unmerge(ctx context.Context, p plan, b *batch) error {
	u, err := w.cut(ctx, p, b.Unmerge)
	if err != nil {
		return fmt.Errorf("deciding what message %d cuts: %w", p.last, err)
	}
	next := p.next
	if u.Refusal == "" {
		h, err := unmerge.NewHistory(ctx, w.conn, w.rules, *u, p.first)
		if err != nil {
			return err
		}
		for _, ordinal := range h.New {
			next = max(next, ordinal+1)
		}
		if err := w.part(ctx, p, *u, h); err != nil {
			return fmt.Errorf("cutting as message %d asks: %w", p.last, err)
		}
	}
	if err := w.crash("done"); err != nil {
		return err
	}
	if err := w.log.done(ctx, p, next); err != nil {
		return fmt.Errorf("storing messages %d to %d: %w", p.first, p.last, err)
	}
	w.next = next
	w.resolver = nil // what it has cached was true before the cut
	if err := w.retry(ctx, func() error { return w.known.LearnCuts(ctx) }); err != nil {
		return err
	}
	w.count(p, b, 0)
	return nil
}

// cut decides what is cut, or reads what was decided.
func (w *writer) cut(ctx context.Context, p plan, asked *event.Unmerge) (u *identity.Unmerge, err error) {
	if err := w.crash("identity_cuts"); err != nil {
		return nil, err
	}
	recorded := func() (err error) {
		u, err = identity.Recorded(ctx, w.conn, p.last)
		return err
	}
	if err := w.retry(ctx, recorded); err != nil || u != nil {
		return u, err
	}
	c := identity.Cut{Identifier: identity.Identifier{Type: asked.Type, Value: asked.Value}, From: identity.Identifier{Type: asked.FromType, Value: asked.FromValue}}
	var decided identity.Unmerge
	err = w.retry(ctx, func() (err error) {
		decided, err = identity.Decide(ctx, w.conn, c, p.next)
		if decided.Refusal = identity.Refusal(err); decided.Refusal != "" {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.insert(ctx, p, table{"identity_cuts", true, decided.Columns(p.last, asked.Received)}); err != nil {
		return nil, err
	}
	err = w.retry(ctx, recorded)
	if err == nil && u == nil {
		err = fmt.Errorf("the cut of message %d was inserted and is not there", p.last)
	}
	return u, err
}

// part carries out what was decided.
func (w *writer) part(ctx context.Context, p plan, u identity.Unmerge, h *unmerge.History) error {
	left, err := w.moveEvents(ctx, p, h)
	if err != nil {
		return err
	}
	if err := w.moveTraits(ctx, p, h, left); err != nil {
		return err
	}
	if err := w.moveAccounts(ctx, p, h, left); err != nil {
		return err
	}
	c := identity.Changes{Attached: u.Moved, Version: p.last}
	ids := map[uint64][]identity.Identifier{}
	for _, m := range u.Moved {
		ids[m.Profile] = append(ids[m.Profile], m.Identifier)
	}
	var names []string
	for _, ordinal := range h.New {
		rank, id := identity.Name(w.rules, ids[ordinal])
		created, ok := left.created[ordinal]
		for _, m := range u.Moved {
			if m.Profile == ordinal && !ok && (created.IsZero() || m.Since.Before(created)) {
				created = m.Since
			}
		}
		c.Profiles = append(c.Profiles, identity.ProfileRow{Profile: ordinal, ID: id, Rank: rank, Created: created})
		names = append(names, "'"+id.String()+"'")
	}
	for _, t := range []table{profileRows(c), memberRows(c), identityRows(c)} {
		if err := w.put(ctx, p, t); err != nil {
			return err
		}
	}
	old, moved := unmerge.Numbers(h.Ordinals), fmt.Sprintf("SELECT type, value FROM identity_cuts WHERE seq = %d AND role = 'moved'", p.last)
	for _, d := range []struct{ table, where string }{
		{"profile_identifiers", fmt.Sprintf("profile IN (%s) AND (type, value) IN (%s)", old, moved)},
		// A profile that was merged had an id that is another's now.
		{"profiles", fmt.Sprintf("profile IN (%s) AND id IN (%s)", old, strings.Join(names, ","))},
		{"events", fmt.Sprintf("profile IN (%s) AND seq < %d AND (seq, message_id) IN (SELECT seq, message_id FROM events WHERE profile IN (%s) AND seq < %[2]d)", old, p.first, unmerge.Numbers(h.New))},
	} {
		if err := w.remove(ctx, p, d.table, d.where); err != nil {
			return err
		}
	}
	return nil
}

// leftBehind is what a history says of each profile after the cut.
type leftBehind struct {
	created map[uint64]time.Time // when the first event was received
	traits  map[traitOf]profile.TraitRow
	members map[memberOf]account.MemberRow
	// sources of values that moved: traits by name, and where in the stream they came from.
	sources map[traitSource]struct{}
}

type traitOf struct {
	profile uint64
	name    string
}

type memberOf struct {
	profile uint64
	account string
}

type traitSource struct {
	name string
	seq  uint64
}

// moveEvents writes events under their new profiles. A page's rows and their token are always the same.
func (w *writer) moveEvents(ctx context.Context, p plan, h *unmerge.History) (leftBehind, error) {
	left := leftBehind{map[uint64]time.Time{}, map[traitOf]profile.TraitRow{}, map[memberOf]account.MemberRow{}, map[traitSource]struct{}{}}
	number := 0
	err := h.Each(ctx, func(page unmerge.Page) error {
		if err := w.crash("events"); err != nil {
			return err
		}
		left.add(page, h.Profile)
		number++
		var events []event.Event
		var owners []uint64
		written := true
		for i, owner := range page.Owners {
			if owner != h.Profile {
				events, owners, written = append(events, page.Events[i]), append(owners, owner), written && page.Written[i]
			}
		}
		if written {
			return nil
		}
		return w.insertAs(ctx, p, eventRows(events, owners), fmt.Sprintf("-%d", number))
	})
	return left, err
}

func (l leftBehind) add(page unmerge.Page, kept uint64) {
	for i, owner := range page.Owners {
		e := &page.Events[i]
		if first, is := l.created[owner]; !is || e.Received.Before(first) {
			l.created[owner] = e.Received
		}
		if owner == kept {
			continue
		}
		for _, t := range e.Traits {
			l.sources[traitSource{t.Name, e.Seq}] = struct{}{}
		}
	}
	for _, row := range profile.Fold(page.Events, page.Owners) {
		k := traitOf{row.Profile, row.Name}
		if old, is := l.traits[k]; !is || !row.Occurred.Before(old.Occurred) {
			l.traits[k] = row
		}
	}
	_, members := account.Fold(page.Events, page.Owners)
	for _, row := range members {
		k := memberOf{row.Profile, row.Account}
		if old, is := l.members[k]; is {
			if old.Since.Before(row.Since) {
				row.Since = old.Since
			}
			if old.Seen.After(row.Seen) {
				row.Seen = old.Seen
			}
		}
		l.members[k] = row
	}
}

// moveTraits gives each profile the traits that its own events left, and takes those of moved events from the profile that
// had them. What it has from events that have aged out stays.
func (w *writer) moveTraits(ctx context.Context, p plan, h *unmerge.History, left leftBehind) error {
	shared := map[string]bool{} // names that moved
	for source := range left.sources {
		shared[source.name] = true
	}
	var rows []profile.TraitRow
	for k, row := range left.traits {
		if k.profile != h.Profile || shared[k.name] {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b profile.TraitRow) int {
		return cmp.Or(cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Name, b.Name))
	})
	old := unmerge.Numbers(h.Ordinals)
	var wrong []string // rows, by the number of their name
	err := w.retry(ctx, func() error {
		wrong = nil
		return warehouse.Each(ctx, w.conn, fmt.Sprintf("SELECT DISTINCT profile, name, cityHash64(name), occurred, seq FROM traits WHERE profile IN (%s) AND seq < %d", old, p.first), func(r driver.Rows) error {
			var row profile.TraitRow
			var hash uint64
			err := r.Scan(&row.Profile, &row.Name, &hash, &row.Occurred, &row.Seq)
			if _, moved := left.sources[traitSource{row.Name, row.Seq}]; moved {
				wrong = append(wrong, fmt.Sprintf("(%d,%d,%d)", row.Profile, hash, row.Seq))
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("reading traits: %w", err)
	}
	if err := w.crash("remove traits"); err != nil {
		return err
	}
	for part := range slices.Chunk(wrong, 1_000) { // of 45 bytes
		if err := w.delete(ctx, p, "traits", fmt.Sprintf("profile IN (%s) AND (profile, cityHash64(name), seq) IN (%s)", old, strings.Join(part, ","))); err != nil {
			return err
		}
	}
	return w.put(ctx, p, traitRows(rows))
}

// moveAccounts does the same for the accounts that somebody belongs to.
func (w *writer) moveAccounts(ctx context.Context, p plan, h *unmerge.History, left leftBehind) error {
	shared := map[string]bool{}
	for k := range left.members {
		if k.profile != h.Profile {
			shared[k.account] = true
		}
	}
	var rows []account.MemberRow
	for k, row := range left.members {
		if shared[k.account] {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b account.MemberRow) int {
		return cmp.Or(cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Account, b.Account))
	})
	var names []string
	for name := range shared {
		names = append(names, fmt.Sprintf("unhex('%x')", name))
	}
	slices.Sort(names)
	for part := range slices.Chunk(names, 100) { // of up to a kilobyte
		if err := w.remove(ctx, p, "account_members", fmt.Sprintf("profile IN (%s) AND account IN (%s)", unmerge.Numbers(h.Ordinals), strings.Join(part, ","))); err != nil {
			return err
		}
	}
	return w.put(ctx, p, accountMemberRows(rows))
}

// put stores rows of an unmerge.
func (w *writer) put(ctx context.Context, p plan, t table) error {
	if err := w.crash(t.name); err != nil {
		return err
	}
	return w.insert(ctx, p, t)
}

// remove takes rows of an unmerge away.
func (w *writer) remove(ctx context.Context, p plan, table, where string) error {
	if err := w.crash("remove " + table); err != nil {
		return err
	}
	return w.delete(ctx, p, table, where)
}

// delete returns when nobody sees the rows any more.
func (w *writer) delete(ctx context.Context, p plan, table, where string) error {
	settings := clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 2, "lightweight_deletes_sync": 2})
	return w.retry(ctx, func() error {
		if err := w.stillMine(ctx, p); err != nil {
			return err
		}
		if err := w.conn.Exec(clickhouse.Context(ctx, settings), "DELETE FROM "+table+" WHERE "+where); err != nil {
			return fmt.Errorf("removing rows from %s: %w", table, err)
		}
		return nil
	})
}
