package membership

import (
	"context"
	"fmt"
	"time"

	"kohort.dev/kohort/internal/audience"
)

// UnknownRevisionError says that the members of a revision cannot be brought back.
type UnknownRevisionError struct {
	Revision uint64
	// Oldest and Newest are the revisions that can be. Both are 0 when the Audience was never evaluated.
	Oldest, Newest uint64
}

func (e *UnknownRevisionError) Error() string {
	if e.Newest == 0 {
		return fmt.Sprintf("there is no revision %d: the audience has not been evaluated yet", e.Revision)
	}
	return fmt.Sprintf("there is no revision %d, or its log is trimmed: %d to %d can be brought back", e.Revision, e.Oldest, e.Newest)
}

// rolledBack is recorded as the definition of the revision that brings an earlier one back. It is no JSON, so no rule has
// it, and the first evaluation afterwards is one of another definition.
func rolledBack(to uint64) string { return fmt.Sprintf("rollback to %d", to) }

// Rollback brings the members of an earlier revision back, as a new revision: nothing of what was is written anew. One
// that is in force already stays as it is: what was merged after it is not looked at. Customers who were merged since count as whom they were merged into; whom erasure
// has taken out of the log stay out.
//
// It fails with [*UnknownRevisionError] when there is no such revision.
func (s *Store) Rollback(ctx context.Context, name string, to uint64, at time.Time) (Result, error) {
	at = at.UTC().Truncate(time.Millisecond)
	if err := s.settle(ctx, at); err != nil {
		return Result{}, err
	}
	revisions, err := s.Revisions(ctx)
	if err != nil {
		return Result{}, err
	}
	before := revisions[name]
	next := change{name: name, revision: before.Number + 1, definition: rolledBack(to)}
	if before.Number > 0 && before.Definition == next.definition {
		return Result{Revision: before.Number, Size: before.Size}, nil
	}
	var known, oldest uint64
	err = s.conn.QueryRow(ctx, fmt.Sprintf("SELECT countIf(revision = %d), min(revision) FROM audience_revisions WHERE audience = %s", to, audience.Quote(name))).Scan(&known, &oldest)
	if err != nil {
		return Result{}, fmt.Errorf("looking for revision %d of %s: %w", to, name, err)
	}
	if known == 0 {
		return Result{}, &UnknownRevisionError{Revision: to, Oldest: oldest, Newest: before.Number}
	}
	s.sound = false
	if err := s.conn.Exec(ctx, undo(next, to, at)); err != nil {
		return Result{}, fmt.Errorf("bringing revision %d of %s back: %w", to, name, err)
	}
	results, err := s.publish(ctx, map[string]Revision{name: before}, []change{next}, at)
	return results[name], err
}

// undo is the statement that logs how the members of an earlier revision differ from the stored ones. Whoever the log has
// not changed since was then what they are now; of the others the first change tells what they were before it.
func undo(next change, to uint64, at time.Time) string {
	const join = "LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = e.profile"
	name := audience.Quote(next.name)
	since := fmt.Sprintf("FROM membership_log WHERE audience = %s AND revision > %d", name, to)
	stored := "FROM memberships FINAL WHERE audience = " + name
	then := "SELECT profile " + stored + " AND profile NOT IN (SELECT profile " + since + ")\nUNION ALL\n" +
		"SELECT profile " + since + " GROUP BY profile HAVING argMin(change, revision) = 'left'"
	return fmt.Sprintf("INSERT INTO membership_log (audience, at, profile, change, revision)\nSELECT %s, %s, profile, %s, %d\nFROM (\n", name, audience.Moment(at), word, next.revision) +
		"SELECT profile, max(now) AS is, max(before) AS was\nFROM (\n" +
		"SELECT if(o.survivor = 0, e.profile, o.survivor) AS profile, 1 AS now, 0 AS before FROM (\n" + then + "\n) AS e " + join +
		"\nUNION ALL\nSELECT profile, 0 AS now, 1 AS before " + stored +
		"\n)\nGROUP BY profile\nHAVING is != was\n)"
}
