package profile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/warehouse"
)

// Profile is one customer as everything that is known says it.
type Profile struct {
	// ID is the public id. It is the same after a replay or in another store.
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// Identifiers by type, in the order they became known.
	Identifiers map[string][]string `json:"identifiers"`
	Traits      map[string]Trait    `json:"traits"`
	Audiences   []Audience          `json:"audiences"`
	// Events are the latest, newest first.
	Events []Event `json:"events"`

	// Ordinal is the warehouse's own number of the customer; no other store has the same.
	Ordinal uint64 `json:"-"`
}

// Trait is a value and where it came from.
type Trait struct {
	Value    json.RawMessage `json:"value"`
	Source   string          `json:"source"`
	Party    string          `json:"party"`
	Occurred time.Time       `json:"occurred"`
}

// Audience is one that the customer is in.
type Audience struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// Event is something that the customer did.
type Event struct {
	Name       string          `json:"event"`
	Type       string          `json:"type"`
	Occurred   time.Time       `json:"occurred"`
	Received   time.Time       `json:"received"`
	Source     string          `json:"source"`
	Party      string          `json:"party"`
	MessageID  string          `json:"messageId"`
	Properties json.RawMessage `json:"properties"`

	// Seq is the place in the stream of the message that brought the event.
	Seq uint64 `json:"-"`
}

// ErrNotFound says that no customer is known by an identifier.
var ErrNotFound = errors.New("no such profile")

// ByID is the type of identifier that names a profile by its public id, or by that of one that was merged into it.
const ByID = "id"

// Want says which parts of a profile are read. A part that is not is empty in the answer.
type Want struct {
	Identifiers, Traits, Audiences bool
	Events                         EventPage
}

// Get reads the customer whom value identifies, normalised as the Platform's rule for the type says, with its latest
// events. It is [ErrNotFound] when there is none.
func Get(ctx context.Context, conn driver.Conn, kind, value string, events int) (*Profile, error) {
	return Read(ctx, conn, kind, value, Want{Identifiers: true, Traits: true, Audiences: true, Events: EventPage{Limit: events}})
}

// Read is [Get] for some parts of the profile.
func Read(ctx context.Context, conn driver.Conn, kind, value string, want Want) (*Profile, error) {
	p, err := find(ctx, conn, kind, value)
	if err != nil {
		return nil, err
	}
	// Its own ordinal, and those that were merged into it.
	in := " WHERE profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor = " + number(p.Ordinal) + " UNION ALL SELECT toUInt64(" + number(p.Ordinal) + "))"
	for _, read := range []struct {
		what   string
		wanted bool
		query  string
		scan   func(driver.Rows) error
	}{
		{"identifiers", want.Identifiers, "SELECT type, value FROM profile_identifiers FINAL" + in + " ORDER BY since, type, value", p.scanIdentifier},
		{"traits", want.Traits, `SELECT name, latest.1, latest.2, latest.3, latest.4 FROM
			(SELECT name, argMax((value, source, party, occurred), (occurred, seq)) AS latest FROM traits` + in + ` GROUP BY name)
			WHERE latest.1 != 'null' ORDER BY name`, p.scanTrait},
		{"audiences", want.Audiences, "SELECT audience, min(since) FROM memberships FINAL" + in + " GROUP BY audience ORDER BY audience", p.scanAudience},
		{"events", want.Events.Limit > 0, want.Events.query(in), p.scanEvent},
	} {
		if !read.wanted {
			continue
		}
		if err := warehouse.Each(want.Events.parameters(ctx), conn, read.query, read.scan); err != nil {
			return nil, fmt.Errorf("reading %s of profile %d: %w", read.what, p.Ordinal, err)
		}
	}
	return p, nil
}

// find gives the customer that the identifier belongs to now, without its parts. Each table is asked for what its key
// leads to.
func find(ctx context.Context, conn driver.Conn, kind, value string) (*Profile, error) {
	found := "SELECT profile FROM identities FINAL WHERE type = {kind:String} AND value = {value:String}"
	if kind == ByID {
		// What was cut out of a profile may have an id that the profile, or one merged into it, had in former times.
		found = "SELECT profile FROM profiles WHERE id = toUUIDOrZero({value:String}) ORDER BY profile DESC"
	}
	root := "SELECT if(o.survivor = 0, i.profile, o.survivor) FROM (" + found + " LIMIT 1) AS i " +
		"LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL WHERE profile IN (" + found + ")) AS o ON o.profile = i.profile"
	query := "SELECT profile, toString(id), created FROM profiles FINAL WHERE profile IN (" + root + ")"
	ctx = warehouse.WithParameters(ctx, map[string]string{"kind": kind, "value": value})
	p := &Profile{Identifiers: map[string][]string{}, Traits: map[string]Trait{}, Audiences: []Audience{}, Events: []Event{}}
	err := warehouse.Each(ctx, conn, query, func(rows driver.Rows) error { return rows.Scan(&p.Ordinal, &p.ID, &p.Created) })
	if err != nil {
		return nil, fmt.Errorf("looking up a profile by %s: %w", kind, err)
	}
	if p.Ordinal == 0 {
		return nil, ErrNotFound
	}
	return p, nil
}

func (p *Profile) scanIdentifier(rows driver.Rows) error {
	var kind, value string
	err := rows.Scan(&kind, &value)
	p.Identifiers[kind] = append(p.Identifiers[kind], value)
	return err
}

func (p *Profile) scanTrait(rows driver.Rows) error {
	var name, value string
	var t Trait
	err := rows.Scan(&name, &value, &t.Source, &t.Party, &t.Occurred)
	t.Value = json.RawMessage(value)
	p.Traits[name] = t
	return err
}

func (p *Profile) scanAudience(rows driver.Rows) error {
	var a Audience
	err := rows.Scan(&a.Name, &a.Since)
	p.Audiences = append(p.Audiences, a)
	return err
}

func (p *Profile) scanEvent(rows driver.Rows) error {
	var e Event
	var properties string
	err := rows.Scan(&e.Name, &e.Type, &e.Occurred, &e.Received, &e.Source, &e.Party, &e.MessageID, &properties, &e.Seq)
	e.Properties = json.RawMessage(properties)
	p.Events = append(p.Events, e)
	return err
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
