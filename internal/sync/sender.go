package sync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
)

// Policy is the one retry policy of deliveries.
type Policy struct {
	// Tries of a batch until it is cut in halves, or, if it is a single row, left for the next run.
	Tries int
	// First pause between two tries; each further one is twice as long, up to Longest, less up to half at random.
	First, Longest time.Duration
	// Patience is how long a destination may go without taking or refusing anything until the run gives up.
	Patience time.Duration
	// Hopeless is how many rows in a row may be refused one by one, while none was ever taken, until the destination is
	// held to refuse everything and not the rows.
	Hopeless int
}

// DefaultPolicy gives up on a destination that is down after two minutes.
func DefaultPolicy() Policy {
	return Policy{Tries: 4, First: 500 * time.Millisecond, Longest: 20 * time.Second, Patience: 2 * time.Minute, Hopeless: 100}
}

// Clock is the time as a run sees it.
type Clock struct {
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// SystemClock is the machine's.
func SystemClock() Clock {
	return Clock{Now: time.Now, Sleep: func(ctx context.Context, d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// sender delivers pages, one at a time, and has for every task an outcome.
type sender struct {
	destination destination.Destination
	policy      Policy
	clock       Clock
	permit      func(context.Context) (context.Context, context.CancelFunc, error)
	batch       func([]task) destination.Batch
	pace        pace

	retried  int64     // requests that were sent again
	taken    bool      // the destination has taken a batch in this run
	alone    int       // rows refused one by one since the last batch that was taken
	answered time.Time // when the destination last took or refused a batch; zero before the first request
	gaveUp   error     // why nothing more is sent
	hopeless bool      // gaveUp because everything was refused: rejections of the page at hand do not count
}

// send delivers tasks and writes their outcomes. It gives up, for the rest of the run, when the destination is away for
// too long or says something that no later try can change; what was not delivered then is pending. An error is about the
// run itself: it was stopped, or lost its claim. Outcomes hold what is known also then.
func (s *sender) send(ctx context.Context, tasks []task, outcomes []outcome) error {
	if s.answered.IsZero() {
		s.answered = s.clock.Now()
	}
	batch := s.batch(tasks)
	for try := 1; !s.isDone(); try++ {
		if err := s.pace.wait(ctx, s.clock); err != nil {
			return err
		}
		permitted, done, err := s.permit(ctx)
		if err != nil {
			return err
		}
		began := s.clock.Now()
		permitted, requests := destination.Counting(permitted)
		results, err := s.destination.Deliver(permitted, batch)
		s.pace.spend(requests.Load(), began)
		done()
		if try > 1 {
			s.retried++
		}
		if err == nil && len(results) != len(tasks) {
			err = fmt.Errorf("the destination answered for %d rows of %d", len(results), len(tasks))
		}
		var unavailable *destination.UnavailableError
		var refusal *destination.RefusedError
		switch {
		case err == nil:
			s.take(results, outcomes)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refusal):
			return s.refused(ctx, refusal, tasks, outcomes)
		case !errors.As(err, &unavailable):
			s.gaveUp = err
			continue
		}
		left := s.policy.Patience - s.clock.Now().Sub(s.answered)
		pause := max(unavailable.After, s.pause(try))
		if pause > left {
			s.gaveUp = fmt.Errorf("%w (%d tries of the last batch)", err, try)
			continue
		}
		if try >= s.policy.Tries && !unavailable.Overloaded && !unavailable.Unconnected {
			if len(tasks) > 1 { // it may be too large, or hold a row that breaks the receiver
				return s.halves(ctx, tasks, outcomes)
			}
			outcomes[0] = outcome{kind: pending, reason: err.Error()}
			return nil
		}
		if err := s.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
	for i := range outcomes {
		outcomes[i] = outcome{kind: pending, reason: s.gaveUp.Error()}
	}
	return nil
}

// isDone says whether the sender gave up: nothing more is sent in this run.
func (s *sender) isDone() bool { return s.gaveUp != nil }

func (s *sender) take(results []destination.Result, outcomes []outcome) {
	s.taken, s.alone, s.answered = true, 0, s.clock.Now()
	for i, result := range results {
		outcomes[i] = outcome{kind: delivered}
		if result.Rejected {
			outcomes[i] = outcome{kind: rejected, reason: result.Reason, message: result.Message}
		}
	}
}

// refused finds the rows that a refusal is about.
func (s *sender) refused(ctx context.Context, refusal *destination.RefusedError, tasks []task, outcomes []outcome) error {
	s.answered = s.clock.Now()
	if len(tasks) > 1 {
		return s.halves(ctx, tasks, outcomes)
	}
	s.alone++
	if !s.taken && s.alone >= s.policy.Hopeless {
		s.hopeless = true
		s.gaveUp = run.Refuse(reasonRowsRejected, "the destination refused each of the first %d rows and took none: %s; the fault is likely not in the rows: check the Destination's spec and the receiver",
			s.alone, refusal.Message)
		outcomes[0] = outcome{kind: pending, reason: s.gaveUp.Error()}
		return nil
	}
	outcomes[0] = outcome{kind: rejected, reason: refusal.Reason, message: refusal.Message}
	return nil
}

// halves sends the first half and then the second: the order of operations is kept.
func (s *sender) halves(ctx context.Context, tasks []task, outcomes []outcome) error {
	middle := len(tasks) / 2
	if err := s.send(ctx, tasks[:middle], outcomes[:middle]); err != nil {
		return err
	}
	return s.send(ctx, tasks[middle:], outcomes[middle:])
}

func (s *sender) pause(try int) time.Duration {
	pause := s.policy.First << min(try-1, 20)
	pause = min(pause, s.policy.Longest)
	return pause - rand.N(pause/2+1)
}
