package unmerge

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/warehouse"
)

// pageRows of history are held at once: of events of 1 KB some 10 MB.
const pageRows = 5_000

// History is what a profile did before a place in the stream, under all the ordinals that it had, and what became of it
// under those that a cut moves it to.
type History struct {
	Conn   driver.Conn
	Rules  []identity.Rule
	Before uint64 // message
	// Profile is the one that is cut, Ordinals are its own and those that were merged into it.
	Profile  uint64
	Ordinals []uint64
	// Owner of identifiers after the cut.
	Owner map[identity.Identifier]uint64
	// New are the ordinals of the parts, each higher than all of Ordinals.
	New []uint64
}

// NewHistory is the history that an unmerge, asked for by message before, divides.
func NewHistory(ctx context.Context, conn driver.Conn, rules []identity.Rule, u identity.Unmerge, before uint64) (*History, error) {
	h := &History{Conn: conn, Rules: rules, Before: before, Profile: u.Profile, Ordinals: []uint64{u.Profile}, Owner: map[identity.Identifier]uint64{}}
	err := warehouse.Each(ctx, conn, fmt.Sprintf("SELECT profile FROM profile_overrides FINAL WHERE survivor = %d ORDER BY profile", u.Profile), func(rows driver.Rows) error {
		var ordinal uint64
		err := rows.Scan(&ordinal)
		h.Ordinals = append(h.Ordinals, ordinal)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the merges of profile %d: %w", u.Profile, err)
	}
	// What stays is known by its table, for a replay reads it after the cut as well as before.
	err = warehouse.Each(ctx, conn, "SELECT type, value FROM profile_identifiers FINAL WHERE profile IN ("+Numbers(h.Ordinals)+")", func(rows driver.Rows) error {
		var id identity.Identifier
		err := rows.Scan(&id.Type, &id.Value)
		h.Owner[id] = u.Profile
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the identifiers of profile %d: %w", u.Profile, err)
	}
	for _, m := range u.Moved {
		h.Owner[m.Identifier] = m.Profile
		if len(h.New) == 0 || h.New[len(h.New)-1] != m.Profile { // moved are in order of their profiles
			h.New = append(h.New, m.Profile)
		}
	}
	return h, nil
}

// Page is a part of a history, in the order of the stream.
type Page struct {
	Events []event.Event
	// Owners after the cut.
	Owners []uint64
	// Written says which events are under the ordinal of their owner already, of those that move.
	Written []bool
}

// place is that of an event in a history.
type place struct {
	seq uint64
	id  string
}

// Each calls do for each page. The pages are the same however much of the history was moved before.
func (h *History) Each(ctx context.Context, do func(p Page) error) error {
	for at := (place{}); ; {
		p, err := h.page(ctx, at)
		if err != nil {
			return fmt.Errorf("reading what profile %d did: %w", h.Profile, err)
		}
		if len(p.Events) > 0 {
			if err := do(p); err != nil {
				return err
			}
		}
		if len(p.Events) < pageRows {
			return nil
		}
		last := &p.Events[len(p.Events)-1]
		at = place{last.Seq, last.MessageID}
	}
}

func (h *History) page(ctx context.Context, after place) (Page, error) {
	query := fmt.Sprintf(`SELECT profile, event, type, occurred, received, message_id, source, party, user_id, anonymous_id, properties, context, seq FROM events
		WHERE profile IN (%s) AND seq < %d AND (seq, message_id) > (%d, {id:String})
		ORDER BY seq, message_id, profile DESC LIMIT 1 BY seq, message_id LIMIT %d`, Numbers(append(h.Ordinals[:len(h.Ordinals):len(h.Ordinals)], h.New...)), h.Before, after.seq, pageRows)
	var p Page
	var under []uint64
	err := warehouse.Each(warehouse.WithParameters(ctx, map[string]string{"id": after.id}), h.Conn, query, func(rows driver.Rows) error {
		var e event.Event
		var profile uint64
		err := rows.Scan(&profile, &e.Name, &e.Type, &e.Occurred, &e.Received, &e.MessageID, &e.Source, &e.Party, &e.UserID, &e.AnonymousID, &e.Properties, &e.Context, &e.Seq)
		e.Recall()
		p.Events, under = append(p.Events, e), append(under, profile)
		return err
	})
	if err != nil {
		return p, err
	}
	p.Owners = identity.Owners(h.Rules, p.Events, h.Owner)
	p.Written = make([]bool, len(p.Events))
	for i, owner := range p.Owners {
		if owner == 0 { // of an identifier that is known no more
			p.Owners[i] = h.Profile
		}
		p.Written[i] = under[i] == p.Owners[i]
	}
	return p, nil
}

// Count gives the number of events of each profile after the cut.
func (h *History) Count(ctx context.Context) (map[uint64]uint64, error) {
	counts := map[uint64]uint64{}
	err := h.Each(ctx, func(p Page) error {
		for _, owner := range p.Owners {
			counts[owner]++
		}
		return nil
	})
	return counts, err
}

// Numbers writes ordinals as the inside of a list of SQL.
func Numbers(ordinals []uint64) string {
	texts := make([]string, len(ordinals))
	for i, ordinal := range ordinals {
		texts[i] = strconv.FormatUint(ordinal, 10)
	}
	return strings.Join(texts, ",")
}
