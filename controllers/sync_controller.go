package controllers

import (
	"context"
	"fmt"
	"slices"
	gosync "sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/sync"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=syncs/status,verbs=patch
// +kubebuilder:rbac:groups=kohort.dev,resources=syncs/finalizers,verbs=update

// syncFinalizer keeps a Sync until its members are out of the destination.
const syncFinalizer = "kohort.dev/drain"

// syncReconciler runs the Jobs of each Sync.
type syncReconciler struct {
	*base
	// slots is held from counting the runs to a Destination to starting one more.
	slots gosync.Mutex
}

// busyPause is how long a run waits until it looks again whether others have ended.
const busyPause = 10 * time.Second

// Reconcile makes one pass over a Sync.
func (r *syncReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.Sync{}
	return r.reconcile(ctx, req, s, func(ctx context.Context) outcome.Outcome {
		facts, err := r.facts(ctx, s)
		if err != nil {
			return outcome.Retry(err)
		}
		remembered := sync.Remembered(s)
		records, err := r.records(ctx, s, ownerKey(kindSync, naming.ComponentSync, s.Name), remembered, sync.Describe)
		if err != nil {
			return outcome.Retry(err)
		}
		if s.DeletionTimestamp != nil {
			return r.finalize(ctx, s, facts, records)
		}
		if err := r.hold(ctx, s, syncFinalizer); err != nil {
			return outcome.Retry(err)
		}
		return r.run(ctx, s, facts, records, remembered)
	})
}

func (r *syncReconciler) facts(ctx context.Context, s *v1alpha1.Sync) (sync.Facts, error) {
	facts := sync.Facts{}
	var err error
	if facts.Platform, err = r.platform(ctx, s.Namespace, s.Spec.PlatformRef.Name); err != nil {
		return facts, err
	}
	a, d := &v1alpha1.Audience{}, &v1alpha1.Destination{}
	found, err := r.find(ctx, s.Namespace, s.Spec.AudienceRef.Name, a)
	if err != nil {
		return facts, err
	}
	if found {
		facts.Audience = a
	}
	if found, err = r.find(ctx, s.Namespace, s.Spec.DestinationRef.Name, d); err != nil || !found {
		return facts, err
	}
	facts.Destination = d
	for _, ref := range d.Spec.Suppress {
		other := &v1alpha1.Audience{}
		if found, err = r.find(ctx, s.Namespace, ref.Name, other); err != nil {
			return facts, err
		}
		if !found {
			other = nil
		}
		facts.Suppress = append(facts.Suppress, other)
	}
	facts.Secret, err = r.credentials(ctx, d)
	return facts, err
}

// run starts the run that is due, if nothing is missing for it, and tells how the newest ones went.
func (r *syncReconciler) run(ctx context.Context, s *v1alpha1.Sync, facts sync.Facts, records []runs.Record, remembered *runs.Record) outcome.Outcome {
	newest, finished := runs.Survey(records, remembered)
	wish, err := sync.Wish(s, facts)
	if err != nil {
		return outcome.Stall(v1alpha1.ReasonInvalidSpec, err.Error())
	}
	decision := runs.Decide(wish, newest, r.now())
	start, next := decision.Start, decision.Next
	missing, suspended, busy := sync.Missing(s, facts), sync.Suspended(s, facts), ""
	if start != nil && missing == nil && suspended == "" {
		job, err := sync.Deliver(s, facts, *start, wish.Order, r.images)
		if err != nil {
			return outcome.Retry(err)
		}
		var started *runs.Record
		started, busy, err = r.admit(ctx, s, facts.Destination, job, start.Record(wish.Order, facts.Audience.Generation))
		if err != nil {
			return outcome.Of(err)
		}
		if started != nil {
			s.Status.LastHandledResync = sync.Resync(s)
			if answer := started.Answers(requested(s)); answer != "" {
				s.Status.LastHandledRequest = answer
			}
			if started.Active {
				newest = started
			}
		}
	}
	if err := r.prune(ctx, s, records); err != nil {
		return outcome.Retry(err)
	}
	if suspended != "" {
		next = time.Time{}
	}
	s.Status.NextRun = timeOf(next)
	if newest != nil {
		if answer := newest.Answers(requested(s)); answer != "" {
			s.Status.LastHandledRequest = answer
		}
	}
	sync.Account(s, records, newest, finished)
	verdict := runs.Judge(newest, finished, wish.Order, true)
	status.Set(s, r.now(), verdict.Condition)
	switch {
	case suspended != "":
		return outcome.Done(v1alpha1.ReasonSuspended, suspended).Again(settle(records))
	case missing != nil:
		return missing.Again(settle(records))
	case sync.Hold(facts) != "":
		return outcome.Wait(v1alpha1.ReasonSuppressionNotReady, sync.Hold(facts)).Again(until(next, r.now())).Again(settle(records))
	case busy != "" && verdict.Outcome == nil:
		return outcome.Progress(v1alpha1.ReasonDestinationBusy, busy).Again(busyPause)
	case busy != "":
		return sync.Summary(verdict).Again(busyPause).Again(settle(records))
	default:
		return sync.Summary(verdict).Again(until(next, r.now())).Again(settle(records))
	}
}

// admit starts a run, unless as many are under way as the Destination takes at a time; then busy says so. It asks the API
// server and not the cache, which is a moment late.
func (r *syncReconciler) admit(ctx context.Context, s *v1alpha1.Sync, d *v1alpha1.Destination, job *batchv1ac.JobApplyConfiguration, record runs.Record) (started *runs.Record, busy string, err error) {
	if d.Spec.RateLimit.GetConcurrency() > 0 {
		r.slots.Lock()
		defer r.slots.Unlock()
		others, err := r.others(ctx, s, d)
		if err != nil {
			return nil, "", err
		}
		if busy = sync.Busy(d, others); busy != "" {
			return nil, busy, nil
		}
	}
	started, err = r.start(ctx, s, job, record)
	return started, "", err
}

// others counts the Syncs that have a run to a Destination under way, beside this one.
func (r *syncReconciler) others(ctx context.Context, s *v1alpha1.Sync, d *v1alpha1.Destination) (int, error) {
	jobs := &batchv1.JobList{}
	if err := r.live.List(ctx, jobs, client.InNamespace(d.Namespace), client.MatchingLabels{v1alpha1.DestinationLabel: d.Name}); err != nil {
		return 0, fmt.Errorf("counting the runs to Destination %s: %w", d.Name, err)
	}
	under := map[string]bool{}
	for i := range jobs.Items {
		if name := jobs.Items[i].Labels[v1alpha1.SyncLabel]; name != s.Name && !runs.Ended(&jobs.Items[i]) {
			under[name] = true
		}
	}
	return len(under), nil
}

// finalize takes the members out of the destination, if the policy asks for it and it can be done, and lets go.
func (r *syncReconciler) finalize(ctx context.Context, s *v1alpha1.Sync, facts sync.Facts, records []runs.Record) outcome.Outcome {
	if !slices.Contains(s.Finalizers, syncFinalizer) {
		return outcome.Released()
	}
	plan := sync.Farewell(s, facts, records, requested(s), r.now())
	if plan.Stop != "" {
		if err := r.removeJob(ctx, s, plan.Stop, metav1.DeletePropagationForeground); err != nil {
			return outcome.Retry(err)
		}
	}
	if plan.Drain != nil {
		job, err := sync.Drain(s, facts.Destination, *plan.Drain, r.images)
		if err != nil {
			return outcome.Retry(err)
		}
		_, busy, err := r.admit(ctx, s, facts.Destination, job, plan.Drain.Record("", 0))
		switch {
		case busy != "":
			return outcome.Progress(v1alpha1.ReasonDestinationBusy, busy).Again(busyPause)
		case terminating(err):
			plan.Release = "the namespace is being deleted, so nothing can run in it any more; the members stay at the destination"
		case err != nil:
			return outcome.Of(err)
		case plan.Drain.Request != "":
			s.Status.LastHandledRequest = plan.Drain.Request
		}
	}
	if plan.Release == "" {
		return plan.Outcome.Again(settle(records))
	}
	released := r.release(ctx, s, syncFinalizer)
	if released.IsReleased() && plan.Left {
		r.status.Tell(s, corev1.EventTypeWarning, v1alpha1.ReasonMembersLeft, plan.Release)
	}
	return released
}

func (r *syncReconciler) setup(mgr ctrl.Manager, o Options) error {
	c := mgr.GetClient()
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Sync{}, builder.WithPredicates(asked())).
		Owns(&batchv1.Job{}).
		Watches(&corev1.Pod{}, byLabel(v1alpha1.SyncLabel, naming.ComponentSync)).
		Watches(&v1alpha1.Audience{}, byIndex(c, &v1alpha1.SyncList{}, indexAudience), builder.WithPredicates(evaluated())).
		Watches(&v1alpha1.Audience{}, throughDestinations(c, indexSuppress), builder.WithPredicates(evaluated())).
		Watches(&v1alpha1.Destination{}, byIndex(c, &v1alpha1.SyncList{}, indexDestination), builder.WithPredicates(asked())).
		Watches(&v1alpha1.Platform{}, byIndex(c, &v1alpha1.SyncList{}, indexPlatform), builder.WithPredicates(platformServes())).
		WatchesMetadata(secretMetadata(), throughDestinations(c, indexSecret)).
		WithOptions(o.controller()).
		Complete(r)
}

// throughDestinations maps an object to the Syncs to each Destination that an index says names it.
func throughDestinations(c client.Client, index string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, d := range referring(ctx, c, &v1alpha1.DestinationList{}, index, o.GetNamespace(), o.GetName()) {
			requests = append(requests, referring(ctx, c, &v1alpha1.SyncList{}, indexDestination, d.Namespace, d.Name)...)
		}
		return requests
	})
}
