package controllers

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/destination"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/status"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=destinations,verbs=get;list;watch
// +kubebuilder:rbac:groups=kohort.dev,resources=destinations/status,verbs=patch

// destinationReconciler tells how each Destination is doing; it makes nothing.
type destinationReconciler struct{ *base }

// Reconcile makes one pass over a Destination.
func (r *destinationReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	d := &v1alpha1.Destination{}
	return r.reconcile(ctx, req, d, func(ctx context.Context) outcome.Outcome {
		if d.DeletionTimestamp != nil {
			return outcome.Released()
		}
		facts, err := r.facts(ctx, d)
		if err != nil {
			return outcome.Retry(err)
		}
		d.Status.Type, d.Status.Audiences = d.Type(), destination.Audiences(facts.Syncs)
		reachable := destination.Reachable(facts.Syncs)
		status.Set(d, r.now(), reachable)
		echo(d)
		return destination.Summary(d, facts, reachable)
	})
}

func (r *destinationReconciler) facts(ctx context.Context, d *v1alpha1.Destination) (destination.Facts, error) {
	facts := destination.Facts{}
	var err error
	if facts.Platform, err = r.platform(ctx, d.Namespace, d.Spec.PlatformRef.Name); err != nil {
		return facts, err
	}
	if facts.Secret, err = r.credentials(ctx, d); err != nil {
		return facts, err
	}
	syncs := &v1alpha1.SyncList{}
	if err := r.client.List(ctx, syncs, client.InNamespace(d.Namespace), client.MatchingFields{indexDestination: d.Name}); err != nil {
		return facts, fmt.Errorf("listing the Syncs to %s: %w", d.Name, err)
	}
	facts.Syncs = syncs.Items
	return facts, nil
}

// credentials looks at the Secrets that a Destination names: the first that is missing, or else one that is there; nil
// when it names none.
func (b *base) credentials(ctx context.Context, d *v1alpha1.Destination) (*facts.Secret, error) {
	var secret *facts.Secret
	for _, c := range destination.Credentials(d) {
		var err error
		if secret, err = b.secret(ctx, d.Namespace, &c.Ref, c.Field); err != nil || secret.Missing() != "" {
			return secret, err
		}
	}
	return secret, nil
}

func (r *destinationReconciler) setup(mgr ctrl.Manager, o Options) error {
	c := mgr.GetClient()
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Destination{}, builder.WithPredicates(asked())).
		Watches(&v1alpha1.Platform{}, byIndex(c, &v1alpha1.DestinationList{}, indexPlatform), builder.WithPredicates(platformServes())).
		Watches(&v1alpha1.Sync{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			s, ok := o.(*v1alpha1.Sync)
			if !ok {
				return nil
			}
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Spec.DestinationRef.Name}}}
		}), builder.WithPredicates(syncMoves())).
		WatchesMetadata(secretMetadata(), byIndex(c, &v1alpha1.DestinationList{}, indexSecret)).
		WithOptions(o.controller()).
		Complete(r)
}
