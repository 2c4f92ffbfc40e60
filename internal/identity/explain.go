package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		return nil, ErrNotOne
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
	const survivor = `SELECT if(o.survivor = 0, i.profile, o.survivor) FROM identities AS i
		LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = i.profile`
	rows, err := conn.Query(ctx, fmt.Sprintf(`WITH (%s WHERE i.type = %s AND i.value = %s LIMIT 1) AS root
		SELECT type, value FROM profile_identifiers FINAL
		WHERE profile IN (SELECT root UNION ALL SELECT profile FROM profile_overrides FINAL WHERE survivor = root)`,
		survivor, quote(id.Type), quote(id.Value)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	known := map[Identifier]bool{}
	for rows.Next() {
		var member Identifier
		if err := rows.Scan(&member.Type, &member.Value); err != nil {
			return nil, err
		}
		known[member] = true
	}
	return known, rows.Err()
}

// linksAmong gives the earliest event of every pair of known identifiers that was seen together, in a fixed order.
func linksAmong(ctx context.Context, conn driver.Conn, known map[Identifier]bool) ([]Link, error) {
	pairs := make([]string, 0, len(known))
	for id := range known {
		pairs = append(pairs, "("+quote(id.Type)+","+quote(id.Value)+")")
	}
	in := "(" + list(pairs, func(pair string) string { return pair }) + ")"
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
		links = append(links, l)
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
