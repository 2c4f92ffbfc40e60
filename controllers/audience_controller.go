package controllers

import (
	"context"
	"fmt"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/audience"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/status"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=audiences,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=kohort.dev,resources=audiences/status,verbs=patch
// +kubebuilder:rbac:groups=kohort.dev,resources=audiences/finalizers,verbs=update
// +kubebuilder:rbac:groups=kohort.dev,resources=syncs,verbs=get;list;watch;create;patch;delete

// audienceFinalizer keeps an Audience until its Syncs are gone, and so until its members are out of the destinations.
const audienceFinalizer = "kohort.dev/syncs"

// audienceReconciler keeps one Sync per destination of each Audience. The engine computes who is in it.
type audienceReconciler struct{ *base }

// Reconcile makes one pass over an Audience.
func (r *audienceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	a := &v1alpha1.Audience{}
	return r.reconcile(ctx, req, a, func(ctx context.Context) outcome.Outcome {
		facts, err := r.facts(ctx, a)
		if err != nil {
			return outcome.Retry(err)
		}
		if a.DeletionTimestamp != nil {
			return r.finalize(ctx, a, facts)
		}
		column, synced, late := audience.Synced(a, facts)
		a.Status.Synced = column
		status.Set(a, r.now(), synced)
		if invalid := audience.Invalid(a, facts); invalid != nil {
			return *invalid // the Syncs stay as they are
		}
		if err := r.apply(ctx, a, facts); err != nil {
			return outcome.Of(err)
		}
		if missing := audience.Missing(a, facts); missing != nil {
			return *missing
		}
		return audience.Summary(a, facts, synced, late)
	})
}

func (r *audienceReconciler) facts(ctx context.Context, a *v1alpha1.Audience) (audience.Facts, error) {
	facts := audience.Facts{Known: map[string]*v1alpha1.Audience{}, Destinations: map[string]*v1alpha1.Destination{}, Syncs: map[string]*v1alpha1.Sync{}}
	var err error
	if facts.Platform, err = r.platform(ctx, a.Namespace, a.Spec.PlatformRef.Name); err != nil {
		return facts, err
	}
	// Only what is in reach of this Audience's references is read, not the whole namespace.
	if err := r.known(ctx, a, facts.Known); err != nil {
		return facts, err
	}
	for _, d := range a.Spec.Destinations {
		found := &v1alpha1.Destination{}
		ok, err := r.find(ctx, a.Namespace, d.Name, found)
		if err != nil {
			return facts, err
		}
		if ok {
			facts.Destinations[d.Name] = found
		}
	}
	syncs := &v1alpha1.SyncList{}
	if err := r.client.List(ctx, syncs, client.InNamespace(a.Namespace), client.MatchingFields{indexAudience: a.Name}); err != nil {
		return facts, fmt.Errorf("listing the Syncs of %s: %w", a.Name, err)
	}
	for i, s := range syncs.Items {
		if metav1.IsControlledBy(&s, a) {
			facts.Syncs[s.Name] = &syncs.Items[i]
		}
	}
	return facts, nil
}

// known follows the references of an Audience to others, and theirs.
func (r *audienceReconciler) known(ctx context.Context, a *v1alpha1.Audience, known map[string]*v1alpha1.Audience) error {
	open := references(a)
	for len(open) > 0 {
		name := open[0]
		open = open[1:]
		if known[name] != nil {
			continue
		}
		found := &v1alpha1.Audience{}
		ok, err := r.find(ctx, a.Namespace, name, found)
		if err != nil {
			return err
		}
		if ok {
			known[name] = found
			open = append(open, references(found)...)
		}
	}
	return nil
}

// apply makes the Syncs, takes away those whose destination was taken out, and hands a request on to all.
func (r *audienceReconciler) apply(ctx context.Context, a *v1alpha1.Audience, facts audience.Facts) error {
	if err := r.hold(ctx, a, audienceFinalizer); err != nil {
		return err
	}
	if err := r.applier.Ensure(ctx, a, audience.Syncs(a)...); err != nil {
		return err
	}
	if err := r.leave(ctx, a, audience.Superfluous(a, facts.Syncs)); err != nil {
		return err
	}
	request := requested(a)
	if request == a.Status.LastHandledRequest {
		return nil
	}
	for _, s := range facts.Syncs {
		if err := r.patch(ctx, s, func(o client.Object) { ask(o, request) }); err != nil {
			return err
		}
	}
	a.Status.LastHandledRequest = request
	return nil
}

func ask(o client.Object, request string) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.RequestedAtAnnotation] = request
	o.SetAnnotations(annotations)
}

// leave deletes Syncs. They go when their members are out; until then they follow the Audience's deletionPolicy.
func (r *audienceReconciler) leave(ctx context.Context, a *v1alpha1.Audience, syncs []*v1alpha1.Sync) error {
	for _, s := range syncs {
		if err := r.applier.Ensure(ctx, a, audience.Leaving(a, s)); err != nil {
			return err
		}
		if err := r.applier.Remove(ctx, a, s); err != nil {
			return err
		}
	}
	return nil
}

// finalize lets an Audience go when its Syncs are gone.
func (r *audienceReconciler) finalize(ctx context.Context, a *v1alpha1.Audience, facts audience.Facts) outcome.Outcome {
	if !slices.Contains(a.Finalizers, audienceFinalizer) {
		return outcome.Released()
	}
	if len(facts.Syncs) == 0 {
		return r.release(ctx, a, audienceFinalizer)
	}
	syncs := make([]*v1alpha1.Sync, 0, len(facts.Syncs))
	for _, s := range facts.Syncs {
		syncs = append(syncs, s)
	}
	if err := r.leave(ctx, a, syncs); err != nil {
		return outcome.Of(err)
	}
	return audience.Draining(facts)
}

func (r *audienceReconciler) setup(mgr ctrl.Manager, o Options) error {
	c := mgr.GetClient()
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Audience{}, builder.WithPredicates(evaluated())).
		Owns(&v1alpha1.Sync{}, builder.WithPredicates(syncMoves())).
		Watches(&v1alpha1.Audience{}, byIndex(c, &v1alpha1.AudienceList{}, indexAudience), builder.WithPredicates(asked())).
		Watches(&v1alpha1.Destination{}, byIndex(c, &v1alpha1.AudienceList{}, indexDestination), builder.WithPredicates(asked())).
		Watches(&v1alpha1.Platform{}, byIndex(c, &v1alpha1.AudienceList{}, indexPlatform), builder.WithPredicates(platformServes())).
		WithOptions(o.controller()).
		Complete(r)
}
