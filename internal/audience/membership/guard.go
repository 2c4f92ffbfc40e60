package membership

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
)

// Guard says how much one evaluation of an Audience may change before a person is asked.
type Guard struct {
	// MaxPercent of the members may enter and leave, both counted together.
	MaxPercent int32
	// MinChange customers may always.
	MinChange uint64
	// Approved is the token of the change that a person lets through; empty: of none.
	Approved string
	// Request is the newest request for an evaluation. Another one has a change that is kept back computed anew.
	Request string
}

// stops says whether a change is too large for an Audience of a size. One without members has nothing to lose.
func (g Guard) stops(size uint64, f Flow) bool {
	change := f.Entered + f.Left
	return size > 0 && change > g.MinChange && change*100 > size*uint64(g.MaxPercent)
}

// EvaluateGuarded is Evaluate for Audiences of which some have guards, by name. A change that a guard stops is not
// published: it is kept, exactly as it was computed, until its token is approved, a later evaluation changes little enough,
// or another definition or request makes it obsolete. Audiences that ask for a stopped one are computed from the members
// that it has.
//
// An approved change becomes a revision first; what has come since is judged like any other change.
func (s *Store) EvaluateGuarded(ctx context.Context, due []*v1alpha1.Audience, at time.Time, guards map[string]Guard) (map[string]Result, error) {
	at = at.UTC().Truncate(time.Millisecond)
	if err := s.settle(ctx, at); err != nil {
		return nil, err
	}
	approved, err := s.approve(ctx, due, at, guards)
	if err != nil {
		return nil, err
	}
	results := make(map[string]Result, len(due))
	for open := due; len(open) > 0; {
		done, rest, err := s.round(ctx, open, at, guards)
		if err != nil {
			return nil, err
		}
		for name, result := range done {
			result.Entered += approved[name].Entered
			result.Left += approved[name].Left
			results[name] = result
		}
		open = rest
	}
	return results, nil
}

// round evaluates Audiences and gives those whose outcome is known, and the rest: those that ask for a stopped one, so that
// they were computed from members that nobody is to see. At least one is known after each round.
func (s *Store) round(ctx context.Context, open []*v1alpha1.Audience, at time.Time, guards map[string]Guard) (done map[string]Result, rest []*v1alpha1.Audience, err error) {
	plan, err := audience.Compile(open, at)
	if err != nil {
		return nil, nil, err
	}
	before, err := s.Revisions(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(open, func(a *v1alpha1.Audience) bool {
		_, guarded := guards[a.Name]
		return guarded && before[a.Name].Size > 0
	}) {
		done, err := s.Evaluate(ctx, plan)
		return done, nil, err
	}
	next := following(plan, before)
	changes, err := s.stage(ctx, plan, next)
	if err != nil {
		return nil, nil, err
	}
	stopped := map[string]bool{}
	for name, guard := range guards {
		stopped[name] = guard.stops(before[name].Size, changes[name].Flow)
	}
	j := judge(next, open, stopped)
	s.sound = false
	if err := s.unstage(ctx, j.pass, at); err != nil {
		return nil, nil, err
	}
	if done, err = s.publish(ctx, before, j.pass, at); err != nil {
		return nil, nil, err
	}
	s.sound = false
	for _, c := range j.stop {
		held, err := s.hold(ctx, c, changes[c.name], guards[c.name], at)
		if err != nil {
			return nil, nil, err
		}
		was := before[c.name]
		done[c.name] = Result{Revision: was.Number, Size: was.Size, Held: &held, Stale: was.Definition != c.definition}
	}
	if err := s.conn.Exec(ctx, "TRUNCATE TABLE membership_staged"); err != nil {
		return nil, nil, fmt.Errorf("clearing what was staged: %w", err)
	}
	s.sound = true
	return done, j.rest, nil
}

// judgement sorts the changes of an evaluation.
type judgement struct {
	pass, stop []change
	rest       []*v1alpha1.Audience
}

// judge lets those changes pass that are not stopped and rest on no stopped one, and stops those that are and do not. The
// others have to be computed again. An Audience stands in next after those that it asks for.
func judge(next []change, open []*v1alpha1.Audience, stopped map[string]bool) judgement {
	byName := make(map[string]*v1alpha1.Audience, len(open))
	for _, a := range open {
		byName[a.Name] = a
	}
	var j judgement
	unpublished := map[string]bool{}
	for _, c := range next {
		shaky := slices.ContainsFunc(audience.References(byName[c.name]), func(name string) bool { return unpublished[name] })
		unpublished[c.name] = shaky || stopped[c.name]
		switch {
		case shaky:
			j.rest = append(j.rest, byName[c.name])
		case stopped[c.name]:
			j.stop = append(j.stop, c)
		default:
			j.pass = append(j.pass, c)
		}
	}
	return j
}

// staged is a change that waits to be judged.
type staged struct {
	Flow
	// sum over its rows; another set of rows has another one.
	sum uint64
}

// stage computes who would enter and leave, for nobody to see yet.
func (s *Store) stage(ctx context.Context, plan audience.Plan, next []change) (map[string]staged, error) {
	if err := s.conn.Exec(ctx, "TRUNCATE TABLE membership_staged"); err != nil {
		return nil, fmt.Errorf("clearing what was staged: %w", err)
	}
	if err := s.compute(ctx, plan, next, toStage); err != nil {
		return nil, err
	}
	rows, err := s.conn.Query(ctx, "SELECT audience, countIf(change = 'entered'), countIf(change = 'left'), groupBitXor(cityHash64(profile, change)) FROM membership_staged GROUP BY audience")
	if err != nil {
		return nil, fmt.Errorf("counting what is staged: %w", err)
	}
	out := map[string]staged{}
	err = each(rows, func() error {
		var name string
		var c staged
		err := rows.Scan(&name, &c.Entered, &c.Left, &c.sum)
		out[name] = c
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting what is staged: %w", err)
	}
	return out, nil
}

// unstage writes staged changes to the log (step 1).
func (s *Store) unstage(ctx context.Context, changes []change, at time.Time) error {
	if len(changes) == 0 {
		return nil
	}
	names := quoted(namesOf(changes))
	err := s.conn.Exec(ctx, "INSERT INTO membership_log (audience, at, profile, change, revision) SELECT audience, "+audience.Moment(at)+
		", profile, change, "+numbersOf(changes)+"[indexOf(["+names+"], toString(audience))] FROM membership_staged WHERE audience IN ("+names+")")
	if err != nil {
		return fmt.Errorf("logging the changes of %s: %w", listed(changes), err)
	}
	return nil
}
