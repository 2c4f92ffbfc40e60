package controllers

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/source"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=sources,verbs=get;list;watch
// +kubebuilder:rbac:groups=kohort.dev,resources=sources/status,verbs=patch
// +kubebuilder:rbac:groups=kohort.dev,resources=sources/finalizers,verbs=update
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete

// sourceReconciler runs the collector or listener of each Source that has one, and the runs of each files or sql Source.
type sourceReconciler struct{ *base }

// Reconcile makes one pass over a Source.
func (r *sourceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.Source{}
	return r.reconcile(ctx, req, s, func(ctx context.Context) outcome.Outcome {
		if s.DeletionTimestamp != nil {
			return outcome.Released() // its children go with it
		}
		s.Status.Type, s.Status.Endpoint = s.Type(), source.Endpoint(s)
		facts, err := r.facts(ctx, s)
		if err != nil {
			return outcome.Retry(err)
		}
		work := r.pull
		if _, _, serves := source.Serves(s); serves {
			work = r.serve
		}
		result := work(ctx, s, facts)
		if fault := source.InvalidPlan(s); fault != nil {
			return result.But(*fault)
		}
		return result
	})
}

func (r *sourceReconciler) facts(ctx context.Context, s *v1alpha1.Source) (source.Facts, error) {
	facts := source.Facts{}
	var err error
	if facts.Platform, err = r.platform(ctx, s.Namespace, s.Spec.PlatformRef.Name); err != nil {
		return facts, err
	}
	for _, c := range source.Credentials(s) {
		if facts.Secret, err = r.secret(ctx, s.Namespace, &c.Ref, c.Field); err != nil {
			return facts, err
		}
		if facts.Secret.Missing() != "" {
			break
		}
	}
	name, component, serves := source.Serves(s)
	if !serves {
		return facts, nil
	}
	server := &appsv1.Deployment{}
	found, err := r.find(ctx, s.Namespace, name, server)
	if err != nil {
		return facts, err
	}
	if found {
		facts.Server = server
	}
	facts.Pods, err = r.pods(ctx, s.Namespace, ownerKey(kindSource, component, s.Name))
	return facts, err
}

// serve keeps a collector or a listener running. One that is suspended is stopped, whatever else is missing.
func (r *sourceReconciler) serve(ctx context.Context, s *v1alpha1.Source, facts source.Facts) outcome.Outcome {
	available := source.Available(s, facts)
	status.Set(s, r.now(), available)
	if missing := source.Missing(facts); missing != nil && !s.Spec.Suspend {
		return *missing
	}
	var errs []error
	if key := source.MadeSecret(s); key != nil {
		errs = append(errs, r.secrets.Ensure(ctx, s, *key))
	}
	children, err := source.Children(s, r.images)
	if err != nil {
		return outcome.Retry(err)
	}
	errs = append(errs, r.applier.Ensure(ctx, s, children...))
	if s.Spec.HTTP != nil && !source.Autoscaled(s) {
		errs = append(errs, r.applier.Remove(ctx, s, &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: naming.Collector(s.Name)}}))
	}
	if err := errors.Join(errs...); err != nil {
		return outcome.Of(err)
	}
	echo(s)
	return source.Served(s, facts, available)
}

// pull starts the runs that are due and tells how they went.
func (r *sourceReconciler) pull(ctx context.Context, s *v1alpha1.Source, facts source.Facts) outcome.Outcome {
	remembered := source.Remembered(s)
	records, err := r.records(ctx, s, ownerKey(kindSource, naming.ComponentPuller, s.Name), remembered, source.Describe)
	if err != nil {
		return outcome.Retry(err)
	}
	newest, finished := runs.Survey(records, remembered)
	wish, err := source.Wish(s)
	if err != nil {
		return outcome.Stall(v1alpha1.ReasonInvalidSpec, err.Error())
	}
	decision := runs.Decide(wish, newest, r.now())
	start, next := decision.Start, decision.Next
	missing := source.Missing(facts)
	if start != nil && missing == nil && facts.Platform.Serves && !s.Spec.Suspend {
		job, err := source.Pull(s, *start, wish.Order, r.images)
		if err != nil {
			return outcome.Retry(err)
		}
		started, err := r.start(ctx, s, job, start.Record(wish.Order, s.Generation))
		if err != nil {
			return outcome.Of(err)
		}
		if answer := started.Answers(requested(s)); answer != "" {
			s.Status.LastHandledRequest = answer
		}
		if started.Active {
			newest = started
		}
	}
	if err := r.prune(ctx, s, records); err != nil {
		return outcome.Retry(err)
	}
	if newest != nil {
		s.Status.LastRun = source.Run(newest)
		if answer := newest.Answers(requested(s)); answer != "" {
			s.Status.LastHandledRequest = answer
		}
	}
	if s.Spec.Suspend {
		next, decision.Next = time.Time{}, time.Time{}
	}
	s.Status.NextRun = timeOf(next)
	verdict := runs.Judge(newest, finished, wish.Order, wish.OnChange)
	status.Set(s, r.now(), verdict.Condition)
	if missing != nil && !s.Spec.Suspend {
		return *missing
	}
	return source.Pulls(s, facts, verdict, decision).Again(until(next, r.now())).Again(settle(records))
}

func (r *sourceReconciler) setup(mgr ctrl.Manager, o Options) error {
	c := mgr.GetClient()
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Source{}, builder.WithPredicates(asked())).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&batchv1.Job{}).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(specOf(func(h *autoscalingv2.HorizontalPodAutoscaler) any { return h.Spec }))).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(specOf(func(p *policyv1.PodDisruptionBudget) any { return p.Spec }))).
		Watches(&corev1.Pod{}, byLabel(v1alpha1.SourceLabel, naming.ComponentCollector, naming.ComponentListener, naming.ComponentPuller)).
		Watches(&v1alpha1.Platform{}, byIndex(c, &v1alpha1.SourceList{}, indexPlatform), builder.WithPredicates(platformServes())).
		WatchesMetadata(secretMetadata(), byIndex(c, &v1alpha1.SourceList{}, indexSecret)).
		WithOptions(o.controller()).
		Complete(r)
}
