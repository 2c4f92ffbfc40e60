package runs

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
)

// Verdict is what the runs say about their owner.
type Verdict struct {
	// Condition is LastRunSucceeded.
	Condition metav1.Condition
	// Outcome is nil when no run has said anything yet: the caller knows what is waited for.
	Outcome *outcome.Outcome
}

// Judge judges an owner by its newest run and by its newest finished one; either may be nil. order is what a run is asked
// to do now: with current, a finished run that was asked for something else does not count as success.
func Judge(newest, finished *Record, order string, current bool) Verdict {
	v := Verdict{Condition: metav1.Condition{Type: v1alpha1.ConditionLastRunSucceeded, Status: metav1.ConditionUnknown,
		Reason: v1alpha1.ReasonAwaitingFirstRun, Message: "no run has finished yet"}}
	say := func(o outcome.Outcome) { v.Outcome = &o }
	good := false
	if finished != nil {
		v.Condition.Reason, v.Condition.Message = finished.Run.Reason, fmt.Sprintf("run %s: %s", finished.Run.Name, finished.Run.Message)
		v.Condition.Status = metav1.ConditionFalse
		if !finished.failed() {
			v.Condition.Status, v.Condition.Reason = metav1.ConditionTrue, v1alpha1.RunSucceeded
			if finished.Rejected() > 0 {
				v.Condition.Reason = v1alpha1.ReasonRowsRejected
			}
			good = !current || finished.Run.Order == order
		}
	}
	switch {
	case newest != nil && newest.Active && newest.Run.Reason != "":
		say(outcome.Wait(newest.Run.Reason, fmt.Sprintf("run %s: %s", newest.Run.Name, newest.Run.Message)))
	case good:
		say(outcome.Done(v1alpha1.ReasonReady, v.Condition.Message))
	case newest != nil && newest.Active:
		say(outcome.Progress(v1alpha1.ReasonProgressing, fmt.Sprintf("run %s is under way", newest.Run.Name)))
	case finished != nil && finished.failed() && finished.Fatal && finished.Run.Order == order:
		say(outcome.Stall(finished.Run.Reason, v.Condition.Message))
	case finished != nil && finished.failed():
		say(outcome.Wait(finished.Run.Reason, v.Condition.Message))
	}
	return v
}

// Rejected rows or records of a run.
func (r *Record) Rejected() int64 { return r.Report.Rejected }

// Fingerprint is the hash of what a run is asked to do. The order's slot must be left out of it; more may go in.
//
// A field that orders gain later must be left out of their JSON while it is empty. Otherwise a new version of the
// operator would find every order changed, and run them all.
func Fingerprint(order any, more ...any) (string, error) {
	text, err := json.Marshal(append([]any{order}, more...))
	if err != nil {
		return "", fmt.Errorf("encoding an order: %w", err)
	}
	return naming.Hash(string(text))[:16], nil
}

// Amount is a number with its word.
type Amount struct {
	Word string
	N    int64
}

// Describe lists amounts, such as "12 added, 3 removed"; all but the first are left out when zero.
func Describe(amounts ...Amount) string {
	text := ""
	for i, a := range amounts {
		if i > 0 && a.N == 0 {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", a.N, a.Word)
	}
	return text
}
