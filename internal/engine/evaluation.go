package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/warehouse"
)

const (
	// longestWait between two looks at what is due; changes of objects wake earlier.
	longestWait = time.Minute
	// flowEvery is how old the counts of who entered and left in the last 24 hours may be.
	flowEvery = time.Minute
	// history is how far back the members of an Audience can be brought back, and trimEvery how often what is older goes.
	history   = 30 * 24 * time.Hour
	trimEvery = 6 * time.Hour
)

// evaluation keeps the members of every Audience current.
type evaluation struct {
	objects objects
	facts   *facts
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time
	wake    chan struct{}

	attempts map[types.UID]attempt
	names    []string // of the Audiences, when those that are gone were last removed; nil: not yet
	flowsAt  time.Time
	trimmed  time.Time
}

// run evaluates until ctx ends. Errors are told in conditions and tried again.
func (e *evaluation) run(ctx context.Context, conn driver.Conn) error {
	members := membership.New(conn)
	for {
		next, err := e.pass(ctx, members)
		if err != nil && ctx.Err() == nil {
			e.logger.Warn("evaluating audiences; trying again", "error", err.Error())
			next = e.now().Add(retryDelay(1))
		}
		select {
		case <-e.wake:
		case <-time.After(min(max(0, next.Sub(e.now())), longestWait)):
		case <-ctx.Done():
			return nil
		}
	}
}

// pass does everything that is due and gives the moment of the next.
func (e *evaluation) pass(ctx context.Context, members *membership.Store) (time.Time, error) {
	platform, err := e.objects.get(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if platform == nil || platform.Spec.Suspend {
		return e.now().Add(longestWait), nil
	}
	own, known, err := e.objects.audiences(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if err := e.removeGone(ctx, members, own); err != nil {
		return time.Time{}, err
	}
	var candidates, back []*v1alpha1.Audience
	for _, a := range own {
		if a.Spec.Suspend || !a.DeletionTimestamp.IsZero() {
			continue
		}
		if request(a.Annotations).rollback != "" {
			back = append(back, a) // its rule is not asked, so it need not be valid
			continue
		}
		if err := audience.Validate(a, known); err != nil {
			e.refuse(a, err)
			continue
		}
		candidates = append(candidates, a)
	}
	now := e.now()
	retry := e.rollBack(ctx, members, back, now)
	due, next := plan(candidates, e.attempts, now)
	if len(due) > 0 {
		e.evaluate(ctx, members, due, now)
	}
	if len(due) > 0 || now.Sub(e.flowsAt) >= flowEvery {
		flows, err := members.Flows(ctx, now.Add(-24*time.Hour))
		if err != nil {
			return time.Time{}, err
		}
		e.flowsAt = now
		e.facts.update(func(f *facts) { f.flows = flows })
	}
	if now.Sub(e.trimmed) >= trimEvery {
		if err := members.Trim(ctx, now.Add(-history)); err != nil {
			return time.Time{}, err
		}
		e.trimmed = now
	}
	if len(due) > 0 {
		_, next = plan(candidates, e.attempts, e.now())
	}
	if !retry.IsZero() && retry.Before(next) {
		next = retry
	}
	return next, nil
}

// removeGone takes the members out of Audiences that are no longer there, and forgets about them.
func (e *evaluation) removeGone(ctx context.Context, members *membership.Store, own []*v1alpha1.Audience) error {
	names := []string{}
	uids := map[types.UID]bool{}
	for _, a := range own {
		names = append(names, a.Name)
		uids[a.UID] = true
	}
	slices.Sort(names)
	if e.names != nil && slices.Equal(names, e.names) {
		return nil
	}
	revisions, err := members.Revisions(ctx)
	if err != nil {
		return err
	}
	var gone []string
	for name, revision := range revisions {
		if !slices.Contains(names, name) && (revision.Size > 0 || revision.Definition != "") {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	if err := members.Remove(ctx, gone, e.now()); err != nil {
		return err
	}
	if len(gone) > 0 {
		e.logger.Info("audiences are gone; their members were removed", "audiences", gone)
	}
	for _, name := range e.names {
		if !slices.Contains(names, name) {
			e.metrics.size.DeleteLabelValues(name)
			e.metrics.evaluated.DeleteLabelValues(name)
			e.metrics.held.DeleteLabelValues(name)
		}
	}
	e.names = names
	for uid := range e.attempts {
		if !uids[uid] {
			delete(e.attempts, uid)
		}
	}
	e.facts.update(func(f *facts) {
		for uid := range f.audiences {
			if !uids[uid] {
				delete(f.audiences, uid)
			}
		}
	})
	return nil
}

// refuse tells why an Audience cannot be evaluated; the members that it has stay.
func (e *evaluation) refuse(a *v1alpha1.Audience, err error) {
	v := verdict{generation: a.Generation, reason: v1alpha1.ReasonInvalidSpec, message: err.Error()}
	var problem *audience.Invalid
	if errors.As(err, &problem) {
		v.reason = problem.Reason
	}
	e.facts.judge(a.UID, v)
	delete(e.attempts, a.UID) // due as soon as it is valid
}

// evaluate computes the due Audiences in one statement. When the warehouse refuses it for good, each is tried alone, so
// that one that it cannot compute holds no other up.
func (e *evaluation) evaluate(ctx context.Context, members *membership.Store, due []*v1alpha1.Audience, now time.Time) {
	results, took, err := e.compute(ctx, members, due, now)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && len(due) > 1 && !warehouse.IsRetryable(err):
		e.logger.Warn("evaluating audiences together failed; trying them one by one", "audiences", len(due), "error", err.Error())
		for _, a := range due {
			e.evaluate(ctx, members, []*v1alpha1.Audience{a}, now)
		}
		return
	case err != nil:
		e.logger.Warn("evaluating audiences failed", "audiences", len(due), "error", err.Error())
	default:
		e.metrics.evaluation.Observe(took.Seconds())
	}
	for _, a := range due {
		try := e.attempts[a.UID]
		if err != nil {
			try = try.failed(a, e.now())
			e.metrics.evaluations.WithLabelValues("failed").Inc()
			e.facts.judge(a.UID, verdict{generation: a.Generation, reason: v1alpha1.ReasonEvaluationFailed,
				message: fmt.Sprintf("the warehouse could not compute the members, and the ones of before stay; next try in %s: %v", try.next.Sub(e.now()).Round(time.Second), err)})
		} else {
			result := results[a.Name]
			try = succeeded(a, now)
			e.tell(a, result, now)
			if result.Entered+result.Left > 0 {
				e.logger.Info("audience changed", "audience", a.Name, "revision", result.Revision, "size", result.Size, "entered", result.Entered, "left", result.Left)
			}
		}
		e.attempts[a.UID] = try
	}
}

func (e *evaluation) compute(ctx context.Context, members *membership.Store, due []*v1alpha1.Audience, now time.Time) (map[string]membership.Result, time.Duration, error) {
	started := e.now()
	results, err := members.EvaluateGuarded(ctx, due, now, guards(due))
	return results, e.now().Sub(started), err
}
