package engine

import (
	"time"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/api/v1alpha1"
)

// attempt is the newest evaluation or enforcement of an object.
type attempt struct {
	generation int64
	request    asked
	failures   int
	next       time.Time
}

// asked is what annotations ask for. Another value of any is looked at at once.
type asked struct{ run, approve, rollback string }

func request(annotations map[string]string) asked {
	return asked{
		run: annotations[v1alpha1.RequestedAtAnnotation], approve: annotations[v1alpha1.ApproveAnnotation],
		rollback: annotations[v1alpha1.RollbackAnnotation],
	}
}

// every is spec.evaluation.every; an invalid one, which the API server refuses, is the default.
func every(a *v1alpha1.Audience) time.Duration {
	d, err := model.ParseDuration(string(a.EvaluateEvery()))
	if err != nil || d <= 0 {
		return time.Minute
	}
	return time.Duration(d)
}

func succeeded(a *v1alpha1.Audience, at time.Time) attempt {
	return attempt{generation: a.Generation, request: request(a.Annotations), next: at.Add(every(a))}
}

func (t attempt) failed(a *v1alpha1.Audience, at time.Time) attempt {
	if t.generation != a.Generation {
		t.failures = 0
	}
	return attempt{generation: a.Generation, request: request(a.Annotations), failures: t.failures + 1, next: at.Add(retryDelay(t.failures))}
}

// retryDelay grows from one second to a minute.
func retryDelay(failures int) time.Duration { return min(time.Second<<min(failures, 6), time.Minute) }

// plan gives the Audiences that are due, and when the next one is. Those that would be due soon are taken along when any
// is: one pass over the events serves all of them.
func plan(candidates []*v1alpha1.Audience, attempts map[types.UID]attempt, now time.Time) (due []*v1alpha1.Audience, next time.Time) {
	next = now.Add(longestWait)
	var soon []*v1alpha1.Audience
	for _, a := range candidates {
		try, tried := attempts[a.UID]
		switch {
		case !tried || try.generation != a.Generation || try.request != request(a.Annotations) || !try.next.After(now):
			due = append(due, a)
		case try.failures == 0 && try.next.Sub(now) <= every(a)/4:
			soon = append(soon, a)
		}
		if tried && try.next.Before(next) {
			next = try.next
		}
	}
	if len(due) > 0 {
		due = append(due, soon...)
	}
	return due, next
}
