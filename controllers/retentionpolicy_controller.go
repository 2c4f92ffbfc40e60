package controllers

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/retentionpolicy"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=retentionpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=kohort.dev,resources=retentionpolicies/status,verbs=patch

// retentionPolicyReconciler tells how each RetentionPolicy is doing; the engine enforces it.
type retentionPolicyReconciler struct{ *base }

// Reconcile makes one pass over a RetentionPolicy.
func (r *retentionPolicyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.RetentionPolicy{}
	return r.reconcile(ctx, req, p, func(ctx context.Context) outcome.Outcome {
		if p.DeletionTimestamp != nil {
			return outcome.Released()
		}
		platform, err := r.platform(ctx, p.Namespace, p.Spec.PlatformRef.Name)
		if err != nil {
			return outcome.Retry(err)
		}
		echo(p)
		return retentionpolicy.Summary(p, platform)
	})
}

func (r *retentionPolicyReconciler) setup(mgr ctrl.Manager, o Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.RetentionPolicy{}, builder.WithPredicates(enforced())).
		Watches(&v1alpha1.Platform{}, byIndex(mgr.GetClient(), &v1alpha1.RetentionPolicyList{}, indexPlatform), builder.WithPredicates(platformServes())).
		WithOptions(o.controller()).
		Complete(r)
}
