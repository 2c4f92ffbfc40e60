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
	// Ordinals are Ordinal and then those of the profiles that were merged into it, ascending.
	Ordinals []uint64 `json:"-"`
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
	p, err := NewFinder().Find(ctx, conn, Key{kind, value})
	if err != nil {
		return nil, err
	}
	return p, p.Fill(ctx, conn, want)
}

// Fill reads parts of a customer that a [Finder] found, and drops the audiences unless they are wanted.
func (p *Profile) Fill(ctx context.Context, conn driver.Conn, want Want) error {
	if !want.Audiences {
		p.Audiences = []Audience{}
	}
	in := p.In()
	latest := latestTraits{}
	for _, read := range []struct {
		what   string
		wanted bool
		query  string
		scan   func(driver.Rows) error
	}{
		{"identifiers", want.Identifiers, "SELECT type, value FROM profile_identifiers FINAL" + in + " ORDER BY since, type, value", p.scanIdentifier},
		{"traits", want.Traits, "SELECT toString(name), value, toString(source), toString(party), occurred, seq FROM traits" + in, latest.scan},
		{"events", want.Events.Limit > 0, want.Events.query(in) + EventsByProfile, p.scanEvent},
	} {
		if !read.wanted {
			continue
		}
		if err := warehouse.Each(want.Events.parameters(ctx), conn, read.query, read.scan); err != nil {
			return fmt.Errorf("reading %s of profile %d: %w", read.what, p.Ordinal, err)
		}
	}
	latest.fill(p.Traits)
	return nil
}

// In is the WHERE clause, with a space before it, that leaves the rows of the customer in a table with a column profile.
func (p *Profile) In() string { return " WHERE profile IN (" + numbers(p.Ordinals) + ")" }

// EventsByProfile ends a query of events that [Profile.In] bounds: it is looked up by profile which rows to read, however
// few there may be to choose from.
const EventsByProfile = " SETTINGS min_table_rows_to_use_projection_index = 0"

func (p *Profile) scanIdentifier(rows driver.Rows) error {
	var kind, value string
	err := rows.Scan(&kind, &value)
	p.Identifiers[kind] = append(p.Identifiers[kind], value)
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
