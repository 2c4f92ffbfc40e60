package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/platform"
)

// +kubebuilder:rbac:groups=kohort.dev,resources=platforms,verbs=get;list;watch
// +kubebuilder:rbac:groups=kohort.dev,resources=platforms/status,verbs=patch
// +kubebuilder:rbac:groups=kohort.dev,resources=platforms/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=statefulsets;deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch
//
// The engine's Role may not grant more than the operator has itself:
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;create;update

// growPause is how long a claim that could not grow is left alone: nothing tells when its storage class was changed.
const growPause = 5 * time.Minute

// platformReconciler runs the store and the engine of each Platform.
type platformReconciler struct{ *base }

// Reconcile makes one pass over a Platform.
func (r *platformReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.Platform{}
	return r.reconcile(ctx, req, p, func(ctx context.Context) outcome.Outcome {
		if p.DeletionTimestamp != nil {
			return outcome.Released() // its children go with it
		}
		if p.Spec.Storage.Embedded == nil {
			return outcome.Stall(v1alpha1.ReasonInvalidSpec, "spec.storage needs embedded: {size: 20Gi}")
		}
		facts, err := r.facts(ctx, p)
		if err != nil {
			return outcome.Retry(err)
		}
		failure := r.apply(ctx, p, facts)
		store, engine := platform.Conditions(p, facts)
		status.Set(p, r.now(), store, engine)
		p.Status.Storage = platform.Storage(p)
		if failure != nil {
			return outcome.Of(failure)
		}
		if refused, err := r.grow(ctx, p, facts); err != nil {
			return outcome.Retry(err)
		} else if refused != "" {
			return outcome.Stall(v1alpha1.ReasonVolumeCannotGrow, refused).Again(growPause)
		}
		echo(p)
		return platform.Summary(p, facts, store, engine)
	})
}

func (r *platformReconciler) facts(ctx context.Context, p *v1alpha1.Platform) (platform.Facts, error) {
	facts := platform.Facts{}
	store, engine, claim := &appsv1.StatefulSet{}, &appsv1.Deployment{}, &corev1.PersistentVolumeClaim{}
	found, err := r.find(ctx, p.Namespace, naming.Store(p.Name), store)
	if err != nil {
		return facts, err
	}
	if found {
		facts.Store = store
	}
	if found, err = r.find(ctx, p.Namespace, naming.Engine(p.Name), engine); err != nil {
		return facts, err
	}
	if found {
		facts.Engine = engine
	}
	if found, err = r.find(ctx, p.Namespace, naming.StoreClaim(p.Name), claim); err != nil {
		return facts, err
	}
	if found {
		facts.Claim = claim
	}
	if facts.StorePods, err = r.pods(ctx, p.Namespace, ownerKey(kindPlatform, naming.ComponentStore, p.Name)); err != nil {
		return facts, err
	}
	facts.EnginePods, err = r.pods(ctx, p.Namespace, ownerKey(kindPlatform, naming.ComponentEngine, p.Name))
	return facts, err
}

// apply makes the children. It goes on after an error: a Service whose name is taken is no reason to leave the store
// without its policy.
func (r *platformReconciler) apply(ctx context.Context, p *v1alpha1.Platform, facts platform.Facts) error {
	var errs []error
	for _, secret := range platform.Secrets(p) {
		errs = append(errs, r.secrets.Ensure(ctx, p, secret))
	}
	errs = append(errs, r.applier.Ensure(ctx, p, platform.Desired(p, facts, r.images)...))
	return errors.Join(errs...)
}

// grow enlarges the store's claim; refused is why the API server did not let it, such as a storage class that cannot.
func (r *platformReconciler) grow(ctx context.Context, p *v1alpha1.Platform, facts platform.Facts) (refused string, err error) {
	size := platform.Grow(p, facts.Claim)
	if size == nil {
		return "", nil
	}
	grown := facts.Claim.DeepCopy()
	grown.Spec.Resources.Requests[corev1.ResourceStorage] = *size
	err = r.client.Patch(ctx, grown, client.MergeFrom(facts.Claim))
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return fmt.Sprintf("claim %s cannot grow to %s: %v", grown.Name, size, err), nil
	}
	if err != nil {
		return "", fmt.Errorf("growing the claim %s: %w", grown.Name, err)
	}
	return "", nil
}

func (r *platformReconciler) setup(mgr ctrl.Manager, o Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Platform{}, builder.WithPredicates(asked())).
		Owns(&appsv1.StatefulSet{}).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Watches(&corev1.Pod{}, byLabel(v1alpha1.PlatformLabel, naming.ComponentStore, naming.ComponentEngine)).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel(v1alpha1.PlatformLabel, naming.ComponentStore)).
		WatchesMetadata(secretMetadata(), handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.Platform{}, handler.OnlyControllerOwner())).
		WithOptions(o.controller()).
		Complete(r)
}
