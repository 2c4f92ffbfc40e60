package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience/membership"
)

// rollBack brings earlier members back of Audiences that ask for it, each once per wish and generation, and gives the
// moment to try those again that failed; zero for none.
func (e *evaluation) rollBack(ctx context.Context, members *membership.Store, back []*v1alpha1.Audience, now time.Time) (retry time.Time) {
	for _, a := range back {
		try, tried := e.attempts[a.UID]
		same := tried && try.generation == a.Generation && try.request == request(a.Annotations)
		if !same || try.failures > 0 && !try.next.After(now) {
			try = e.rollBackOne(ctx, members, a, now)
			e.attempts[a.UID] = try
		}
		if try.failures > 0 && (retry.IsZero() || try.next.Before(retry)) {
			retry = try.next
		}
	}
	return retry
}

func (e *evaluation) rollBackOne(ctx context.Context, members *membership.Store, a *v1alpha1.Audience, now time.Time) attempt {
	const field = "metadata.annotations[" + v1alpha1.RollbackAnnotation + "]"
	refuse := func(why string) attempt {
		e.facts.judge(a.UID, verdict{generation: a.Generation, reason: v1alpha1.ReasonRevisionNotFound,
			message: field + ": " + why + "; the members stay and the rule is not evaluated until it names one that is, or is taken away"})
		return succeeded(a, now)
	}
	text := request(a.Annotations).rollback
	to, err := strconv.ParseUint(text, 10, 63)
	if err != nil || to == 0 {
		return refuse(fmt.Sprintf("%.64q is not the number of a revision", text))
	}
	result, err := members.Rollback(ctx, a.Name, to, now)
	var unknown *membership.UnknownRevisionError
	switch {
	case errors.As(err, &unknown):
		return refuse(unknown.Error())
	case err != nil:
		try := e.attempts[a.UID].failed(a, e.now())
		if ctx.Err() == nil {
			e.logger.Warn("rolling an audience back failed", "audience", a.Name, "error", err.Error())
			e.facts.judge(a.UID, verdict{generation: a.Generation, reason: v1alpha1.ReasonEvaluationFailed,
				message: fmt.Sprintf("the warehouse could not bring the members of revision %d back, and the ones of before stay; next try in %s: %v", to, try.next.Sub(e.now()).Round(time.Second), err)})
		}
		return try
	}
	e.metrics.size.WithLabelValues(a.Name).Set(float64(result.Size))
	e.metrics.held.WithLabelValues(a.Name).Set(0)
	e.facts.update(func(f *facts) {
		next := &evaluated{Result: result, generation: a.Generation, rolledBack: to}
		if was := f.audiences[a.UID].result; was != nil {
			next.at = was.at
		}
		f.audiences[a.UID] = audienceFacts{result: next, verdict: verdict{generation: a.Generation, reason: v1alpha1.ReasonRolledBack,
			message: fmt.Sprintf("the members are those of revision %d, brought back as revision %d; the rule is evaluated again when the annotation %s is taken away", to, result.Revision, v1alpha1.RollbackAnnotation)}}
	})
	e.logger.Info("audience rolled back", "audience", a.Name, "to", to, "revision", result.Revision, "size", result.Size, "entered", result.Entered, "left", result.Left)
	return succeeded(a, now)
}
