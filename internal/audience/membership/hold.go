package membership

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse"
)

// Hold is a change that a guard keeps back. Its rows are in membership_held; it is there when its row in audience_holds
// is, which is written last and deleted first.
type Hold struct {
	// Token names this change and no other: another set of customers, definition, revision or moment has another one.
	Token string
	// Flow is what it would do.
	Flow
	// At is when it was computed.
	At time.Time

	revision   uint64 // that it would become
	definition string
	request    string
}

// recall reads which changes are kept back, and clears what a crash left of others.
func (s *Store) recall(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT audience, token, revision, definition, entering, leaving, request, at FROM audience_holds")
	if err != nil {
		return fmt.Errorf("reading the changes that are kept back: %w", err)
	}
	s.holds = map[string]Hold{}
	err = each(rows, func() error {
		var name string
		var h Hold
		err := rows.Scan(&name, &h.Token, &h.revision, &h.definition, &h.Entered, &h.Left, &h.request, &h.At)
		s.holds[name] = h
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the changes that are kept back: %w", err)
	}
	const stray = " FROM membership_held WHERE token NOT IN (SELECT token FROM audience_holds)"
	var n uint64
	if err := s.conn.QueryRow(ctx, "SELECT count()"+stray).Scan(&n); err != nil {
		return fmt.Errorf("looking for what was left of changes that were kept back: %w", err)
	}
	if n > 0 {
		if err := s.conn.Exec(ctx, "DELETE"+stray); err != nil {
			return fmt.Errorf("clearing what was left of changes that were kept back: %w", err)
		}
	}
	return nil
}

// hold keeps a staged change back. One that is kept back already stays as it is, though what the rule gives has moved on:
// a person who looks at it decides about what was shown. It gives way to a new definition, revision or request.
func (s *Store) hold(ctx context.Context, c change, what staged, g Guard, at time.Time) (Hold, error) {
	if was, ok := s.holds[c.name]; ok && was.follows(c) && was.request == g.Request {
		return was, nil
	}
	if err := s.release(ctx, []string{c.name}); err != nil {
		return Hold{}, err
	}
	h := Hold{Flow: what.Flow, At: at, revision: c.revision, definition: c.definition, request: g.Request}
	h.Token = token(c, what, at)
	err := s.conn.Exec(ctx, "INSERT INTO membership_held (audience, token, profile, change) SELECT audience, "+audience.Quote(h.Token)+
		", profile, change FROM membership_staged WHERE audience = "+audience.Quote(c.name))
	if err != nil {
		return Hold{}, fmt.Errorf("keeping the change of %s back: %w", c.name, err)
	}
	err = warehouse.Insert(ctx, s.conn, "audience_holds", "",
		warehouse.Column{Name: "audience", Type: "String", Values: []string{c.name}},
		warehouse.Column{Name: "token", Type: "String", Values: []string{h.Token}},
		warehouse.Column{Name: "revision", Type: "UInt64", Values: []uint64{h.revision}},
		warehouse.Column{Name: "definition", Type: "String", Values: []string{h.definition}},
		warehouse.Column{Name: "entering", Type: "UInt64", Values: []uint64{h.Entered}},
		warehouse.Column{Name: "leaving", Type: "UInt64", Values: []uint64{h.Left}},
		warehouse.Column{Name: "request", Type: "String", Values: []string{h.request}},
		warehouse.Column{Name: "at", Type: "DateTime64(3, 'UTC')", Values: []time.Time{at}})
	if err != nil {
		return Hold{}, fmt.Errorf("keeping the change of %s back: %w", c.name, err)
	}
	s.holds[c.name] = h
	return h, nil
}

// follows says that a change kept back is still one from the stored members to those of a definition.
func (h Hold) follows(c change) bool {
	return h.revision == c.revision && h.definition == c.definition
}

// token is the revision that a change would become, which people can make something of, and a hash.
func token(c change, what staged, at time.Time) string {
	hash := fnv.New32a()
	fmt.Fprint(hash, c.name, "\x00", c.definition, "\x00", what.sum, at.UnixMilli()) // a hash takes everything
	return fmt.Sprintf("%d-%08x", c.revision, hash.Sum32())
}

// approve publishes the changes kept back of due Audiences that a person has let through.
func (s *Store) approve(ctx context.Context, due []*v1alpha1.Audience, at time.Time, guards map[string]Guard) (map[string]Flow, error) {
	var approved []change
	var tokens []string
	before, err := s.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range due {
		h, ok := s.holds[a.Name]
		c := change{name: a.Name, revision: before[a.Name].Number + 1, definition: audience.Definition(a)}
		if ok && h.Token == guards[a.Name].Approved && h.follows(c) {
			approved, tokens = append(approved, c), append(tokens, h.Token)
		}
	}
	if len(approved) == 0 {
		return nil, nil
	}
	s.sound = false
	names := quoted(namesOf(approved))
	err = s.conn.Exec(ctx, "INSERT INTO membership_log (audience, at, profile, change, revision) SELECT audience, "+audience.Moment(at)+
		", profile, change, "+numbersOf(approved)+"[indexOf(["+names+"], toString(audience))] FROM membership_held WHERE token IN ("+quoted(tokens)+") AND audience IN ("+names+")")
	if err != nil {
		return nil, fmt.Errorf("logging the approved changes of %s: %w", listed(approved), err)
	}
	results, err := s.publish(ctx, before, approved, at)
	if err != nil {
		return nil, err
	}
	flows := make(map[string]Flow, len(results))
	for name, result := range results {
		flows[name] = Flow{result.Entered, result.Left}
	}
	return flows, nil
}

// release forgets about changes that are kept back.
func (s *Store) release(ctx context.Context, names []string) error {
	var held []string
	for _, name := range names {
		if _, ok := s.holds[name]; ok {
			held = append(held, name)
		}
	}
	if len(held) == 0 {
		return nil
	}
	for _, table := range []string{"audience_holds", "membership_held"} {
		if err := s.conn.Exec(ctx, "DELETE FROM "+table+" WHERE audience IN ("+quoted(held)+")"); err != nil {
			return fmt.Errorf("forgetting the changes kept back of %s: %w", strings.Join(held, ", "), err)
		}
	}
	for _, name := range held {
		delete(s.holds, name)
	}
	return nil
}
