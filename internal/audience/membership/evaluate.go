package membership

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/audience"
)

// Result of one Audience's evaluation.
type Result struct {
	// Revision is the newest one: a new one when the members or the definition changed.
	Revision uint64
	// Size is the number of members.
	Size uint64
	// Entered and Left are what this evaluation changed.
	Entered, Left uint64
	// Held is the change that a guard keeps back; nil when there is none.
	Held *Hold
	// Stale says that, because a change is kept back, the members are those of another definition than the one that was
	// asked for.
	Stale bool
}

// Rows of memory that a statement may group at once: 25 million keys of two integers and two flags take about 1.5 GiB at
// worst, and beyond its limit the engine spills to disk.
const groupedRows = 25_000_000

// Evaluate computes the members of a plan's Audiences and stores what changed. A failure changes nothing for readers of
// complete revisions and is repaired by the next call.
func (s *Store) Evaluate(ctx context.Context, plan audience.Plan) (map[string]Result, error) {
	if len(plan.Audiences) == 0 {
		return nil, nil
	}
	if err := s.settle(ctx, plan.At); err != nil {
		return nil, err
	}
	before, err := s.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	next := following(plan, before)
	s.sound = false
	if err := s.compute(ctx, plan, next, toLog); err != nil {
		return nil, err
	}
	return s.publish(ctx, before, next, plan.At)
}

// following are the revisions that an evaluation would make.
func following(plan audience.Plan, before map[string]Revision) []change {
	next := make([]change, len(plan.Audiences))
	for i, a := range plan.Audiences {
		next[i] = change{name: a.Name, revision: before[a.Name].Number + 1, definition: a.Definition}
	}
	return next
}

// publish makes revisions of what is in the log, where anything changed. The changes that were kept back until now are
// overtaken.
func (s *Store) publish(ctx context.Context, before map[string]Revision, next []change, at time.Time) (map[string]Result, error) {
	if len(next) == 0 {
		return map[string]Result{}, nil
	}
	flows, err := s.logged(ctx, next, at)
	if err != nil {
		return nil, err
	}
	changed := slices.DeleteFunc(slices.Clone(next), func(c change) bool {
		return flows[c.name] == Flow{} && before[c.name].Number > 0 && before[c.name].Definition == c.definition
	})
	sizes, err := s.apply(ctx, changed, at)
	if err != nil {
		return nil, err
	}
	if err := s.release(ctx, namesOf(next)); err != nil {
		return nil, err
	}
	s.sound = true
	results := make(map[string]Result, len(next))
	for _, c := range next {
		results[c.name] = Result{Revision: before[c.name].Number, Size: before[c.name].Size}
	}
	for _, c := range changed {
		results[c.name] = Result{Revision: c.revision, Size: sizes[c.name], Entered: flows[c.name].Entered, Left: flows[c.name].Left}
	}
	return results, nil
}

// target is a table that takes a difference: its INSERT, and what of a row follows the name of the audience. revision
// stands for the array of the revisions to make.
type target func(at time.Time, revisions string) (insert, columns string)

func toLog(at time.Time, revisions string) (insert, columns string) {
	return "membership_log (audience, at, profile, change, revision)", audience.Moment(at) + ", profile, " + word + ", " + revisions + "[number]"
}

func toStage(time.Time, string) (insert, columns string) {
	return "membership_staged (audience, profile, change)", "profile, " + word
}

// word is the change of a row of a difference.
const word = "if(is = 1, 'entered', 'left')"

// compute writes who enters and leaves to a target, bucket by bucket.
func (s *Store) compute(ctx context.Context, plan audience.Plan, next []change, to target) error {
	var profiles uint64
	// Merged profiles and older versions of rows are counted too: it is only a size.
	if err := s.conn.QueryRow(ctx, "SELECT count() FROM profiles").Scan(&profiles); err != nil {
		return fmt.Errorf("counting profiles: %w", err)
	}
	count := int(profiles*uint64(len(next))/groupedRows) + 1
	for i := range count {
		if err := s.conn.Exec(large(ctx), difference(plan, next, to, audience.Bucket{Index: i, Count: count})); err != nil {
			return fmt.Errorf("evaluating %s: %w", listed(next), err)
		}
	}
	return nil
}

// large lets a statement be as long as a hundred audiences with all the values they may have. Its depth is bounded by what
// audience.Validate lets pass. Functions are not evaluated lazily: what several criteria ask of one event would be taken
// out of its JSON once for each of them. Comparisons are not chained (a < b and b < c, so a < c): looking for that took
// half the time of a statement of seventy audiences over few rows, and there is nothing of the kind in it.
func large(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_query_size": 256 << 20, "max_ast_elements": 10_000_000, "max_expanded_ast_elements": 50_000_000,
		"max_parser_depth": 10_000, "max_ast_depth": 10_000, "max_parser_backtracks": 100_000_000,
		"short_circuit_function_evaluation": "disable", "optimize_and_compare_chain": 0,
	}))
}

// difference is the statement that writes how the members of a plan differ from the stored ones.
func difference(plan audience.Plan, next []change, to target, bucket audience.Bucket) string {
	names := quoted(namesOf(next))
	insert, columns := to(plan.At, numbersOf(next))
	stored := "SELECT toUInt16(indexOf([" + names + "], toString(audience))) AS number, profile, 0 AS now, 1 AS before FROM memberships FINAL WHERE audience IN (" + names + ")"
	if in := bucket.Has("profile"); in != "" {
		stored += " AND " + in
	}
	return "INSERT INTO " + insert + "\n" +
		"SELECT [" + names + "][number], " + columns + "\n" +
		"FROM (\nSELECT number, profile, max(now) AS is, max(before) AS was\nFROM (\n" +
		"SELECT audience AS number, profile, 1 AS now, 0 AS before FROM (\n" + plan.Members(bucket) + "\n)\nUNION ALL\n" + stored +
		"\n)\nGROUP BY number, profile\nHAVING is != was\n)"
}

// logged counts what step 1 wrote.
func (s *Store) logged(ctx context.Context, next []change, at time.Time) (map[string]Flow, error) {
	rows, err := s.conn.Query(ctx, "SELECT audience, countIf(change = 'entered'), countIf(change = 'left') FROM membership_log WHERE at = "+audience.Moment(at)+
		" AND audience IN ("+quoted(namesOf(next))+") AND "+revisions(next)+" GROUP BY audience")
	if err != nil {
		return nil, fmt.Errorf("counting changes: %w", err)
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
		return nil, fmt.Errorf("counting changes: %w", err)
	}
	return out, nil
}

// settle completes revisions that a crash or a failure left in the log only.
func (s *Store) settle(ctx context.Context, at time.Time) error {
	if s.sound {
		return nil
	}
	before, err := s.Revisions(ctx)
	if err != nil {
		return err
	}
	rows, err := s.conn.Query(ctx, "SELECT audience, max(revision) FROM membership_log GROUP BY audience")
	if err != nil {
		return fmt.Errorf("looking for incomplete revisions: %w", err)
	}
	var left []change
	err = each(rows, func() error {
		var c change
		err := rows.Scan(&c.name, &c.revision)
		if was := before[c.name]; c.revision > was.Number {
			// The members are then between two definitions, so none is recorded and the next evaluation counts as a change.
			left = append(left, c)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for incomplete revisions: %w", err)
	}
	if _, err := s.apply(ctx, left, at); err != nil {
		return fmt.Errorf("completing what was interrupted: %w", err)
	}
	if err := s.recall(ctx); err != nil {
		return err
	}
	s.sound = true
	return nil
}

// Remove takes every member out of Audiences that are no longer there. Their revisions stay, so that one made again
// under the same name goes on counting.
func (s *Store) Remove(ctx context.Context, names []string, at time.Time) error {
	if len(names) == 0 {
		return nil
	}
	if err := s.settle(ctx, at); err != nil {
		return err
	}
	s.sound = false
	at = at.UTC().Truncate(time.Millisecond)
	before, err := s.Revisions(ctx)
	if err != nil {
		return err
	}
	next := make([]change, len(names))
	for i, name := range names {
		next[i] = change{name: name, revision: before[name].Number + 1}
	}
	err = s.conn.Exec(ctx, "INSERT INTO membership_log (audience, at, profile, change, revision) SELECT audience, "+audience.Moment(at)+
		", profile, 'left', "+numbersOf(next)+"[indexOf(["+quoted(names)+"], toString(audience))] FROM memberships FINAL WHERE audience IN ("+quoted(names)+")")
	if err != nil {
		return fmt.Errorf("removing the members of %s: %w", listed(next), err)
	}
	if _, err := s.apply(ctx, next, at); err != nil {
		return err
	}
	if err := s.release(ctx, names); err != nil {
		return err
	}
	s.sound = true
	return nil
}
