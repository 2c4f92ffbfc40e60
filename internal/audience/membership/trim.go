package membership

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kohort.dev/kohort/internal/audience"
)

// Trim shortens the history: of each Audience the newest revision from before a moment becomes the oldest that there is,
// and what led to it is forgotten. Every revision that is left can be brought back, and the newest always is left.
//
// Nothing but [Store.Rollback] and [Store.Flows] reads the log: a Sync compares the members with what its destination
// holds, so it may be any number of revisions behind. Rows of a revision that is not complete are newer than all that are
// trimmed.
func (s *Store) Trim(ctx context.Context, before time.Time) error {
	moment := audience.Moment(before)
	rows, err := s.conn.Query(ctx, "SELECT audience, maxIf(revision, at < "+moment+") AS oldest FROM audience_revisions GROUP BY audience HAVING oldest > 0")
	if err != nil {
		return fmt.Errorf("looking for revisions from before %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	var oldest []change
	err = each(rows, func() error {
		var c change
		err := rows.Scan(&c.name, &c.revision)
		oldest = append(oldest, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for revisions from before %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	if len(oldest) == 0 {
		return nil
	}
	names := quoted(namesOf(oldest))
	keep := numbersOf(oldest) + "[indexOf([" + names + "], toString(audience))]"
	// The revisions go first: one whose log is gone must not look as if it could be brought back.
	for _, obsolete := range []string{
		"audience_revisions WHERE audience IN (" + names + ") AND revision < " + keep,
		"membership_log WHERE audience IN (" + names + ") AND revision <= " + keep,
	} {
		table, _, _ := strings.Cut(obsolete, " ")
		var n uint64
		if err := s.conn.QueryRow(ctx, "SELECT count() FROM "+obsolete).Scan(&n); err != nil {
			return fmt.Errorf("counting what is obsolete in %s: %w", table, err)
		}
		if n == 0 {
			continue // a mutation of nothing costs one all the same
		}
		if err := s.conn.Exec(ctx, "DELETE FROM "+obsolete); err != nil {
			return fmt.Errorf("deleting what is obsolete from %s: %w", table, err)
		}
	}
	return nil
}
