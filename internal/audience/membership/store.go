package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse"
)

// Store evaluates and keeps memberships in one warehouse. It is not for concurrent use.
type Store struct {
	conn driver.Conn
	// sound says that no incomplete revision can be in the log. It is false at the start and after a failure.
	sound bool
	// holds are the changes that are kept back, by Audience. They are read again whenever sound was false.
	holds map[string]Hold
}

// New makes a Store over a connection whose database is the Platform's.
func New(conn driver.Conn) *Store { return &Store{conn: conn} }

// Revision is the newest complete revision of an Audience.
type Revision struct {
	Number uint64
	// Definition that the members were computed from; empty after removal, and when a crash left the members between two
	// definitions.
	Definition string
	// Size is the number of members.
	Size uint64
}

// Revisions are the newest complete revisions by Audience, also of removed ones.
func (s *Store) Revisions(ctx context.Context) (map[string]Revision, error) {
	rows, err := s.conn.Query(ctx, "SELECT audience, max(revision), argMax(definition, (revision, at)), argMax(size, (revision, at)) FROM audience_revisions GROUP BY audience")
	if err != nil {
		return nil, fmt.Errorf("reading the revisions of audiences: %w", err)
	}
	out := map[string]Revision{}
	err = each(rows, func() error {
		var name string
		var r Revision
		err := rows.Scan(&name, &r.Number, &r.Definition, &r.Size)
		out[name] = r
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the revisions of audiences: %w", err)
	}
	return out, nil
}

// Flow counts the customers who became members, and those who stopped being members.
type Flow struct{ Entered, Left uint64 }

// Flows are the flows since a moment by Audience; one in which nothing changed is left out.
func (s *Store) Flows(ctx context.Context, since time.Time) (map[string]Flow, error) {
	rows, err := s.conn.Query(ctx, "SELECT audience, uniqExactIf(profile, change = 'entered'), uniqExactIf(profile, change = 'left') FROM membership_log WHERE at > "+
		audience.Moment(since)+" GROUP BY audience")
	if err != nil {
		return nil, fmt.Errorf("counting who entered and left: %w", err)
	}
	out := map[string]Flow{}
	err = each(rows, func() error {
		var name string
		var f Flow
		err := rows.Scan(&name, &f.Entered, &f.Left)
		out[name] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting who entered and left: %w", err)
	}
	return out, nil
}

// change is one Audience's next revision.
type change struct {
	name     string
	revision uint64
	// definition to record with the revision.
	definition string
}

// apply carries the log rows of revisions over to memberships (step 2) and completes the revisions (step 3). It gives
// the sizes after.
func (s *Store) apply(ctx context.Context, changes []change, at time.Time) (map[string]uint64, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	names := namesOf(changes)
	err := s.conn.Exec(ctx, "INSERT INTO memberships (audience, profile, since, revision, deleted) "+
		"SELECT audience, profile, at, revision, change = 'left' FROM membership_log WHERE audience IN ("+quoted(names)+") AND "+revisions(changes))
	if err != nil {
		return nil, fmt.Errorf("storing the members of %s: %w", listed(changes), err)
	}
	sizes, err := s.sizes(ctx, names)
	if err != nil {
		return nil, err
	}
	var rows struct {
		revisions, sizes []uint64
		definitions      []string
		at               []time.Time
	}
	for _, c := range changes {
		rows.revisions = append(rows.revisions, c.revision)
		rows.definitions = append(rows.definitions, c.definition)
		rows.sizes = append(rows.sizes, sizes[c.name])
		rows.at = append(rows.at, at)
	}
	err = warehouse.Insert(ctx, s.conn, "audience_revisions", "",
		warehouse.Column{Name: "audience", Type: "String", Values: names},
		warehouse.Column{Name: "revision", Type: "UInt64", Values: rows.revisions},
		warehouse.Column{Name: "definition", Type: "String", Values: rows.definitions},
		warehouse.Column{Name: "size", Type: "UInt64", Values: rows.sizes},
		warehouse.Column{Name: "at", Type: "DateTime64(3, 'UTC')", Values: rows.at})
	if err != nil {
		return nil, fmt.Errorf("completing the revisions of %s: %w", listed(changes), err)
	}
	return sizes, nil
}

func (s *Store) sizes(ctx context.Context, names []string) (map[string]uint64, error) {
	rows, err := s.conn.Query(ctx, "SELECT audience, count() FROM memberships FINAL WHERE audience IN ("+quoted(names)+") GROUP BY audience")
	if err != nil {
		return nil, fmt.Errorf("counting members: %w", err)
	}
	out := make(map[string]uint64, len(names))
	err = each(rows, func() error {
		var name string
		var size uint64
		err := rows.Scan(&name, &size)
		out[name] = size
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting members: %w", err)
	}
	return out, nil
}

// each calls read for every row and closes them.
func each(rows driver.Rows, read func() error) error {
	for rows.Next() {
		if err := read(); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}
