// Package outcome says how a pass over an object ended and what follows from it: the conditions Ready, Reconciling and
// Stalled (kstatus), when to come back, and what people are told.
package outcome

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kohort.dev/kohort/api/v1alpha1"
)

// maxMessage is what an Event's note holds (events.k8s.io/v1); conditions get the same.
const maxMessage = 1024

// conflictPause is the wait after a write met a newer object: by then the cache has it.
const conflictPause = 200 * time.Millisecond

// terminatingPause is the wait in a namespace that is being deleted.
const terminatingPause = 10 * time.Second

type kind int

const (
	done kind = iota
	progressing
	waiting
	stalled
	failed
	released
)

// Outcome is how a pass ended. Make one with Done, Progress, Wait, Stall, Retry or Released.
type Outcome struct {
	kind    kind
	reason  string
	message string
	after   time.Duration
	err     error
}

// Done : the object is as its spec asks.
func Done(reason, message string) Outcome {
	return Outcome{kind: done, reason: reason, message: message}
}

// Progress : work is under way that ends by itself.
func Progress(reason, message string) Outcome {
	return Outcome{kind: progressing, reason: reason, message: message}
}

// Wait : something is missing or broken that may come right without a change of this object.
func Wait(reason, message string) Outcome {
	return Outcome{kind: waiting, reason: reason, message: message}
}

// Stall : a person has to change something first; message says what.
func Stall(reason, message string) Outcome {
	return Outcome{kind: stalled, reason: reason, message: message}
}

// Retry : an error of the machinery; the pass is made again after a growing pause. A conflict is silent.
func Retry(err error) Outcome { return Outcome{kind: failed, err: err} }

// Released : the object may go; there is no status left to write.
func Released() Outcome { return Outcome{kind: released} }

// Again asks for another pass after a time, besides those that watches cause. The shortest wish wins; 0 is none.
func (o Outcome) Again(after time.Duration) Outcome {
	if after > 0 && (o.after == 0 || after < o.after) {
		o.after = after
	}
	return o
}

// But is o with a fault in the spec that a person has to mend: the object works as far as it can, and is stalled. What is
// gone or was not seen to the end stays as it is.
func (o Outcome) But(fault Outcome) Outcome {
	if o.kind == failed || o.kind == released {
		return o
	}
	return fault.Again(o.after)
}

// IsReleased says that the object is gone or may go.
func (o Outcome) IsReleased() bool { return o.kind == released }

// Handled says that the newest spec was dealt with as far as can be: observedGeneration may follow it.
func (o Outcome) Handled() bool { return o.kind == done || o.kind == stalled }

// EventType is Warning when a person may have to act.
func (o Outcome) EventType() string {
	if o.kind == done || o.kind == progressing {
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// Result is what controller-runtime is told.
func (o Outcome) Result() (reconcile.Result, error) {
	if o.kind != failed {
		return reconcile.Result{RequeueAfter: o.after}, nil
	}
	if apierrors.IsConflict(o.err) {
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	return reconcile.Result{}, o.err
}

// Summarise writes Ready, Reconciling, Stalled and observedGeneration of an object at its generation.
//
// An error leaves a good Ready as it is for a conflict, and otherwise makes it Unknown: nobody knows then.
func (o Outcome) Summarise(status *v1alpha1.CommonStatus, generation int64, now time.Time) {
	set := func(conditionType string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: conditionType, Status: value, Reason: reason, Message: Cut(message),
			ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now),
		})
	}
	drop := func(conditionType string) { meta.RemoveStatusCondition(&status.Conditions, conditionType) }
	switch o.kind {
	case released:
		return
	case failed:
		if apierrors.IsConflict(o.err) {
			return
		}
		set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconcileError, o.err.Error())
		set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonReconcileError, o.err.Error())
		drop(v1alpha1.ConditionStalled)
	case done:
		set(v1alpha1.ConditionReady, metav1.ConditionTrue, o.reason, o.message)
		drop(v1alpha1.ConditionReconciling)
		drop(v1alpha1.ConditionStalled)
	case stalled:
		set(v1alpha1.ConditionReady, metav1.ConditionFalse, o.reason, o.message)
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, o.reason, o.message)
		drop(v1alpha1.ConditionReconciling)
	default:
		set(v1alpha1.ConditionReady, metav1.ConditionFalse, o.reason, o.message)
		set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, o.reason, o.message)
		drop(v1alpha1.ConditionStalled)
	}
	if o.Handled() {
		status.ObservedGeneration = generation
	}
}

// Cut shortens a message to what a condition and an Event hold, at a rune's boundary.
func Cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	n := maxMessage - len("…")
	for n > 0 && message[n]&0xC0 == 0x80 {
		n--
	}
	return message[:n] + "…"
}

// Of turns an error into an outcome: an error that knows its own, or Retry. What the API server refuses as invalid came
// from the spec, and asking again would not help.
func Of(err error) Outcome {
	var own interface{ Outcome() Outcome }
	switch {
	case errors.As(err, &own):
		return own.Outcome()
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// Soon this object is gone too; until then there is nothing to be done, and nobody to be alarmed.
		return Progress(v1alpha1.ReasonProgressing, "the namespace is being deleted").Again(terminatingPause)
	case apierrors.IsInvalid(err):
		return Stall(v1alpha1.ReasonInvalidSpec, err.Error())
	default:
		return Retry(err)
	}
}
