package profile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/warehouse"
)

// Key is what a customer is looked up by: a type of identifier, or [ByID], and a value that is normalised as the
// Platform's rule for the type says.
type Key struct{ Type, Value string }

// find gives the customers whom keys belong to now, with their audiences; nil where there is none. However many keys there
// are, it asks for the ordinals that they are attached to, then for the cards of those, and twice more at most: for the
// cards of survivors, and for those of everybody who was merged into them. For one key the first two are one statement,
// which costs four fifths; of several nobody could tell whose card a row is.
func find(ctx context.Context, conn driver.Conn, keys []Key) ([]*Profile, error) {
	c := cards{}
	var attached []uint64
	var err error
	if len(keys) == 1 && keys[0].Type != ByID {
		attached, err = c.readOf(ctx, conn, keys[0])
	} else {
		attached, err = attachments(ctx, conn, keys)
	}
	if err != nil {
		return nil, err
	}
	for {
		missing := c.missing(attached)
		if len(missing) == 0 {
			break
		}
		if err := c.read(ctx, conn, missing); err != nil {
			return nil, fmt.Errorf("reading the cards of %d profiles: %w", len(missing), err)
		}
	}
	out := make([]*Profile, len(keys))
	for i, ordinal := range attached {
		if ordinal != 0 {
			out[i] = c.profile(ordinal)
		}
	}
	return out, nil
}

// attachments gives the ordinal that each key is attached to, 0 for none.
func attachments(ctx context.Context, conn driver.Conn, keys []Key) ([]uint64, error) {
	var pairs, ids []string
	values := map[string]string{}
	asked := make([]Key, len(keys)) // as the warehouse writes them
	for i, key := range keys {
		if key.Type == ByID {
			if id, err := uuid.Parse(key.Value); err == nil && len(key.Value) == 36 {
				ids, asked[i] = append(ids, "'"+id.String()+"'"), Key{ByID, id.String()}
			}
			continue
		}
		n := strconv.Itoa(len(pairs))
		pairs, asked[i] = append(pairs, "({t"+n+":String},{v"+n+":String})"), key
		values["t"+n], values["v"+n] = key.Type, key.Value
	}
	type attachment struct{ profile, version uint64 }
	latest := map[Key]attachment{}
	scan := func(rows driver.Rows) error {
		var key Key
		var a attachment
		err := rows.Scan(&key.Type, &key.Value, &a.profile, &a.version)
		if known, is := latest[key]; !is || a.version >= known.version {
			latest[key] = a
		}
		return err
	}
	if len(pairs) > 0 {
		query := "SELECT toString(type), value, profile, version FROM identities WHERE (type, value) IN (" + strings.Join(pairs, ",") + ")"
		if err := warehouse.Each(warehouse.WithParameters(ctx, values), conn, query, scan); err != nil {
			return nil, fmt.Errorf("looking up identifiers: %w", err)
		}
	}
	if len(ids) > 0 {
		// What was cut out of a profile may have an id that the profile, or one merged into it, had in former times.
		query := "SELECT '" + ByID + "', toString(id), profile, profile AS version FROM profiles WHERE id IN (" + strings.Join(ids, ",") + ")"
		if err := warehouse.Each(ctx, conn, query, scan); err != nil {
			return nil, fmt.Errorf("looking up public ids: %w", err)
		}
	}
	out := make([]uint64, len(keys))
	for i, key := range asked {
		out[i] = latest[key].profile
	}
	return out, nil
}

// cards are the rows of profile_cards by profile. One that was asked for is there even when it has no rows.
type cards map[uint64]*card

type card struct {
	id        uuid.UUID
	created   time.Time
	named     uint64 // version of id
	survivor  uint64
	moved     uint64 // version of survivor
	absorbed  []uint64
	audiences map[string]membership
}

type membership struct {
	since   time.Time
	version uint64
	deleted bool
}

// root is the profile that an ordinal is part of, as far as the cards tell.
func (c cards) root(ordinal uint64) uint64 {
	if known := c[ordinal]; known != nil && known.survivor != 0 {
		return known.survivor
	}
	return ordinal
}

// missing gives the ordinals whose cards must be known to tell who those of attached are.
func (c cards) missing(attached []uint64) []uint64 {
	wanted := map[uint64]struct{}{}
	want := func(ordinal uint64) {
		if ordinal != 0 && c[ordinal] == nil {
			wanted[ordinal] = struct{}{}
		}
	}
	for _, ordinal := range attached {
		want(ordinal)
		root := c.root(ordinal)
		want(root)
		if known := c[root]; known != nil {
			for _, other := range known.absorbed {
				want(other)
			}
		}
	}
	out := make([]uint64, 0, len(wanted))
	for ordinal := range wanted {
		out = append(out, ordinal)
	}
	slices.Sort(out)
	return out
}

func (c cards) read(ctx context.Context, conn driver.Conn, ordinals []uint64) error {
	for _, ordinal := range ordinals {
		c[ordinal] = &card{audiences: map[string]membership{}}
	}
	return c.readIn(ctx, conn, numbers(ordinals))
}

// readOf reads the card of the ordinal that a key is attached to, and gives the ordinal; 0 when there is none.
func (c cards) readOf(ctx context.Context, conn driver.Conn, key Key) ([]uint64, error) {
	ctx = warehouse.WithParameters(ctx, map[string]string{"type": key.Type, "value": key.Value})
	err := c.readIn(ctx, conn, "SELECT profile FROM identities FINAL WHERE type = {type:String} AND value = {value:String}")
	if err != nil {
		return nil, fmt.Errorf("looking up an identifier: %w", err)
	}
	for ordinal := range c {
		return []uint64{ordinal}, nil
	}
	return []uint64{0}, nil
}

// readIn reads the cards of a list of ordinals, or of a query that gives them.
func (c cards) readIn(ctx context.Context, conn driver.Conn, in string) error {
	query := "SELECT profile, toString(what), key, toString(audience), id, other, at, version, deleted FROM profile_cards WHERE profile IN (" + in + ")"
	return warehouse.Each(ctx, conn, query, func(rows driver.Rows) error {
		var ordinal, key, other, version uint64
		var what, audience string
		var id uuid.UUID
		var at time.Time
		var deleted uint8
		if err := rows.Scan(&ordinal, &what, &key, &audience, &id, &other, &at, &version, &deleted); err != nil {
			return err
		}
		known := c[ordinal]
		if known == nil {
			known = &card{audiences: map[string]membership{}}
			c[ordinal] = known
		}
		switch {
		case what == "name" && version >= known.named:
			known.id, known.created, known.named = id, at, version
		case what == "survivor" && version >= known.moved:
			known.survivor, known.moved = other, version
		case what == "absorbed":
			known.absorbed = append(known.absorbed, key)
		case what == "audience" && version >= known.audiences[audience].version:
			known.audiences[audience] = membership{at, version, deleted != 0}
		}
		return nil
	})
}

// profile is the customer that an ordinal is part of; nil when there is none of the kind any more.
func (c cards) profile(ordinal uint64) *Profile {
	root := c.root(ordinal)
	own := c[root]
	if own.id == uuid.Nil {
		return nil
	}
	p := empty()
	p.Ordinal, p.ID, p.Created, p.Ordinals = root, own.id.String(), own.created, []uint64{root}
	for _, other := range own.absorbed {
		if c.root(other) == root {
			p.Ordinals = append(p.Ordinals, other)
		}
	}
	slices.Sort(p.Ordinals[1:])
	p.Ordinals = slices.Compact(p.Ordinals)
	since := map[string]time.Time{}
	for _, member := range p.Ordinals {
		for name, m := range c[member].audiences {
			if first, is := since[name]; !m.deleted && (!is || m.since.Before(first)) {
				since[name] = m.since
			}
		}
	}
	for name, at := range since {
		p.Audiences = append(p.Audiences, Audience{name, at})
	}
	slices.SortFunc(p.Audiences, func(a, b Audience) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func empty() *Profile {
	return &Profile{Identifiers: map[string][]string{}, Traits: map[string]Trait{}, Audiences: []Audience{}, Events: []Event{}}
}

func numbers(ordinals []uint64) string {
	var b strings.Builder
	for i, n := range ordinals {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(number(n))
	}
	return b.String()
}
