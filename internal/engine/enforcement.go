package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/retention"
)

type uid = types.UID

// enforcement deletes what the RetentionPolicies of the Platform say. It goes on while the Platform is suspended, for
// data grows old then too.
type enforcement struct {
	objects objects
	facts   *facts
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time
	wake    chan struct{}

	attempts map[uid]attempt
}

// run enforces until ctx ends. Errors are told in conditions and tried again.
func (e *enforcement) run(ctx context.Context, conn driver.Conn) error {
	for {
		next, err := e.pass(ctx, conn)
		if err != nil && ctx.Err() == nil {
			e.logger.Warn("enforcing retention; trying again", "error", err.Error())
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

// pass enforces what is due, one policy after the other, and gives the moment of the next.
func (e *enforcement) pass(ctx context.Context, conn driver.Conn) (time.Time, error) {
	policies, err := e.objects.policies(ctx)
	if err != nil {
		return time.Time{}, err
	}
	e.forget(policies)
	next := e.now().Add(longestWait)
	for _, p := range policies {
		if p.Spec.Suspend || !p.DeletionTimestamp.IsZero() {
			e.suspend(p)
			continue
		}
		try, tried := e.attempts[p.UID]
		if !tried || try.generation != p.Generation || try.request != request(p.Annotations) || !try.next.After(e.now()) {
			try = e.enforce(ctx, conn, p, try)
			if ctx.Err() != nil {
				return time.Time{}, ctx.Err()
			}
			e.attempts[p.UID] = try
		}
		if try.next.Before(next) {
			next = try.next
		}
	}
	return next, nil
}

// enforce one policy and tell what came of it.
func (e *enforcement) enforce(ctx context.Context, conn driver.Conn, p *v1alpha1.RetentionPolicy, before attempt) attempt {
	now := e.now()
	try := attempt{generation: p.Generation, request: request(p.Annotations)}
	policy, err := retention.Read(p)
	var regular time.Time
	if err == nil {
		regular, err = retention.Next(p.GetSchedule(), now)
	}
	if err != nil {
		e.update(p, func(f *policyFacts) {
			f.verdict = verdict{generation: p.Generation, reason: v1alpha1.ReasonInvalidSpec, message: err.Error()}
			f.next = time.Time{}
		})
		try.next = now.Add(24 * time.Hour) // an edit wakes earlier
		return try
	}
	outcome, err := retention.Enforce(ctx, conn, policy, now)
	if ctx.Err() != nil && err != nil {
		err = errors.Join(err, ctx.Err())
	}
	try.next = regular
	v := judge(p, outcome)
	if err != nil {
		if before.generation == p.Generation {
			try.failures = before.failures
		}
		try.next = earlier(regular, now.Add(retryDelay(try.failures)))
		try.failures++
		v = verdict{generation: p.Generation, reason: ReasonEnforcementFailed, message: fmt.Sprintf("trying again: %v", err)}
		e.logger.Warn("enforcing a policy failed", "policy", p.Name, "error", err.Error())
	} else if !v.ok && !p.Spec.DryRun {
		try.next = earlier(regular, now.Add(longestWait))
	}
	e.update(p, func(f *policyFacts) {
		for table, n := range outcome.Deleted {
			f.deleted[table] += n
			e.metrics.deleted.WithLabelValues(table).Add(float64(n))
		}
		f.verdict, f.next = v, try.next
		if err == nil {
			f.outcome, f.enforced = &outcome, now
			e.metrics.overdue.WithLabelValues(p.Name).Set(float64(outcome.Overdue))
		}
	})
	if len(outcome.Deleted) > 0 {
		e.logger.Info("retention deleted rows", "policy", p.Name, "deleted", outcome.Deleted, "overdue", outcome.Overdue)
	}
	return try
}

// judge says what an enforcement that did not fail means.
func judge(p *v1alpha1.RetentionPolicy, outcome retention.Outcome) verdict {
	v := verdict{generation: p.Generation, ok: outcome.Overdue == 0}
	switch {
	case p.Spec.DryRun && v.ok:
		v.reason, v.message = ReasonDryRun, "a dry run: nothing is overdue"
	case p.Spec.DryRun:
		v.reason, v.message = ReasonDryRun, fmt.Sprintf("a dry run: %d rows are overdue; set dryRun: false to delete them", outcome.Overdue)
	case v.ok:
		v.reason, v.message = ReasonEnforced, "nothing that the policy covers is overdue"
	default:
		v.reason, v.message = ReasonOverdue, fmt.Sprintf("%d rows are still there after an enforcement; the next one follows within a minute", outcome.Overdue)
	}
	return v
}

// suspend takes back the promise of a next enforcement of a policy that was enforced by this process.
func (e *enforcement) suspend(p *v1alpha1.RetentionPolicy) {
	if _, tried := e.attempts[p.UID]; !tried {
		return
	}
	delete(e.attempts, p.UID)
	e.update(p, func(f *policyFacts) { f.next = time.Time{} })
}

// update changes the facts of a policy. The rows deleted before this process began to lead stand in its status.
func (e *enforcement) update(p *v1alpha1.RetentionPolicy, change func(f *policyFacts)) {
	e.facts.update(func(all *facts) {
		f, known := all.policies[p.UID]
		f.deleted = maps.Clone(f.deleted)
		if !known {
			f.deleted = maps.Clone(p.Status.Deleted)
		}
		if f.deleted == nil {
			f.deleted = map[string]int64{}
		}
		change(&f)
		all.policies[p.UID] = f
	})
}

func (e *enforcement) forget(policies []*v1alpha1.RetentionPolicy) {
	uids := map[uid]bool{}
	names := map[string]bool{}
	for _, p := range policies {
		uids[p.UID], names[p.Name] = true, true
	}
	e.facts.update(func(f *facts) {
		for id := range f.policies {
			if !uids[id] {
				delete(f.policies, id)
			}
		}
	})
	for id := range e.attempts {
		if !uids[id] {
			delete(e.attempts, id)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
