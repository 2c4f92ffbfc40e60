package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Link is a step of an explanation: an event that had both identifiers, the earliest there was.
type Link struct {
	From, To  Identifier
	MessageID string
	Source    string
	Occurred  time.Time
	Received  time.Time
}

// What there is to explain, or not.
var (
	ErrUnknown  = errors.New("nobody is known by this identifier")
	ErrNotOne   = errors.New("the two identifiers belong to different profiles")
	ErrNoRecord = errors.New("no chain of events is left: they were erased, or have aged out")
)

// Explain gives a shortest chain of events by which two identifiers, normalised, became one profile's. It is
// [ErrUnknown], [ErrNotOne] or [ErrNoRecord] when there is none.
func Explain(ctx context.Context, conn driver.Conn, a, b Identifier) ([]Link, error) {
	known, err := together(ctx, conn, a)
	if err != nil {
		return nil, fmt.Errorf("reading the identifiers of the profile of %s: %w", a.Type, err)
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("%s: %w", a.Type, ErrUnknown)
	}
	if !known[b] {
		other, err := together(ctx, conn, b)
		if err != nil {
			return nil, fmt.Errorf("reading the identifiers of the profile of %s: %w", b.Type, err)
		}
		if len(other) == 0 {
			return nil, fmt.Errorf("%s: %w", b.Type, ErrUnknown)
		}
		return nil, notOne(ctx, conn, known, other)
	}
	links, err := linksAmong(ctx, conn, known)
	if err != nil {
		return nil, fmt.Errorf("reading what ties identifiers together: %w", err)
	}
	chain := shortest(links, a, b)
	if chain == nil && a != b {
		return nil, ErrNoRecord
	}
	return chain, nil
}

// together gives all identifiers of the profile that id belongs to, none when it belongs to none.
func together(ctx context.Context, conn driver.Conn, id Identifier) (map[Identifier]bool, error) {
	_, since, err := membersOf(ctx, conn, id)
	known := map[Identifier]bool{}
	for member := range since {
		known[member] = true
	}
	return known, err
}

// notOne is the ErrNotOne of two profiles. It tells when they were cut apart.
func notOne(ctx context.Context, conn driver.Conn, known, other map[Identifier]bool) error {
	all := maps.Clone(known)
	maps.Copy(all, other)
	cuts, err := cutsAmong(ctx, conn, tuples(all))
	if err != nil {
		return fmt.Errorf("reading what was cut apart: %w", err)
	}
	for _, seq := range slices.Sorted(maps.Keys(cuts)) {
		for x, side := range cuts[seq].ends {
			for y, opposite := range cuts[seq].ends {
				if known[x] && other[y] && side != opposite {
					return fmt.Errorf("%w: they were cut apart by hand on %s", ErrNotOne, cuts[seq].at.Format(time.RFC3339))
				}
			}
		}
	}
	return ErrNotOne
}

// tuples writes identifiers as the right side of IN.
func tuples(ids map[Identifier]bool) string {
	pairs := make([]string, 0, len(ids))
	for id := range ids {
		pairs = append(pairs, "("+quote(id.Type)+","+quote(id.Value)+")")
	}
	return "(" + strings.Join(pairs, ",") + ")"
}

// linksAmong gives the earliest event of every pair of known identifiers that was seen together and not cut apart, in a
// fixed order.
func linksAmong(ctx context.Context, conn driver.Conn, known map[Identifier]bool) ([]Link, error) {
	in := tuples(known)
	cuts, err := cutsAmong(ctx, conn, in)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT a_type, a_value, b_type, b_value, first.1, first.2, first.3, first.4 FROM
		(SELECT a_type, a_value, b_type, b_value, argMin((message_id, source, occurred, received), (occurred, message_id)) AS first
		FROM identity_edges WHERE (a_type, a_value) IN `+in+` AND (b_type, b_value) IN `+in+`
		GROUP BY a_type, a_value, b_type, b_value) ORDER BY first.3, first.1, a_type, a_value, b_type, b_value`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var links []Link
	for rows.Next() {
		var l Link
		if err := rows.Scan(&l.From.Type, &l.From.Value, &l.To.Type, &l.To.Value, &l.MessageID, &l.Source, &l.Occurred, &l.Received); err != nil {
			return nil, err
		}
		if !isCut(cuts, l.From, l.To) {
			links = append(links, l)
		}
	}
	return links, rows.Err()
}

// shortest is a chain of the fewest links from a to b, each turned to lead on; nil when there is none.
func shortest(links []Link, a, b Identifier) []Link {
	next := map[Identifier][]Link{}
	for _, l := range links {
		next[l.From] = append(next[l.From], l)
		back := l
		back.From, back.To = l.To, l.From
		next[l.To] = append(next[l.To], back)
	}
	came := map[Identifier]Link{a: {}}
	for queue := []Identifier{a}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == b {
			break
		}
		for _, l := range next[queue[0]] {
			if _, seen := came[l.To]; !seen {
				came[l.To] = l
				queue = append(queue, l.To)
			}
		}
	}
	if _, reached := came[b]; !reached {
		return nil
	}
	var chain []Link
	for at := b; at != a; at = came[at].From {
		chain = append(chain, came[at])
	}
	slices.Reverse(chain)
	return chain
}
