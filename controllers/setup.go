package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/destination"
	"kohort.dev/kohort/controllers/internal/apply"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/secrets"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/source"
	"kohort.dev/kohort/internal/audience"
)

// ownFields are the fields of status that the operator writes beside the common ones; the others are the engine's.
var ownFields = map[string][]string{
	"Platform":    {"storage"},
	"Source":      {"type", "endpoint", "lastRun", "nextRun"},
	"Audience":    {"synced"},
	"Destination": {"type", "audiences"},
	"Sync":        {"lastHandledResync", "members", "pending", "lastRun", "nextRun", "rejections", "history"},
}

// CacheOptions keep the cache small: of what everybody makes only our own is held, no Secret's content at all, and no
// managedFields.
func CacheOptions(namespaces []string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{naming.ManagedByLabel: naming.FieldManager})}
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{},
	}
	for _, o := range []client.Object{
		&appsv1.StatefulSet{}, &appsv1.Deployment{}, &batchv1.Job{}, &corev1.Pod{}, &corev1.Service{}, &corev1.ServiceAccount{},
		&corev1.PersistentVolumeClaim{}, &networkingv1.NetworkPolicy{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		&autoscalingv2.HorizontalPodAutoscaler{}, &policyv1.PodDisruptionBudget{},
	} {
		options.ByObject[o] = ours
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// Who may get /metrics is asked of the API server:
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Setup adds every reconciler to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	_, err := setup(ctx, mgr, o)
	return err
}

// reconciler is one of ours.
type reconciler interface {
	reconcile.Reconciler
	setup(ctrl.Manager, Options) error
}

// setup gives the reconcilers that it adds, by kind.
func setup(ctx context.Context, mgr ctrl.Manager, o Options) (map[string]reconciler, error) {
	if err := index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	b := newBase(mgr, o)
	reconcilers := map[string]reconciler{
		"Platform": &platformReconciler{b()}, "Source": &sourceReconciler{b()}, "Audience": &audienceReconciler{b()},
		"Destination": &destinationReconciler{b()}, "Sync": &syncReconciler{base: b()}, "RetentionPolicy": &retentionPolicyReconciler{b()},
	}
	for kind, r := range reconcilers {
		if err := r.setup(mgr, o); err != nil {
			return nil, fmt.Errorf("adding the reconciler of %s: %w", kind, err)
		}
	}
	return reconcilers, nil
}

// newBase gives a function that makes a base for each kind; what may be shared is.
func newBase(mgr ctrl.Manager, o Options) func() *base {
	c, live := mgr.GetClient(), mgr.GetAPIReader()
	writer := status.NewWriter(c, mgr.GetEventRecorder(naming.FieldManager), ownFields)
	applier, keeper := apply.New(c, live), secrets.New(c, live, o.Random)
	return func() *base {
		return &base{client: c, live: live, applier: applier, status: writer, secrets: keeper, images: o.Images, now: o.Now,
			uids: map[types.NamespacedName]types.UID{}}
	}
}

// Pauses after errors grow from the first to the longest: two minutes is what a person waits who has just mended
// something that no watch tells of, such as a quota.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 2 * time.Minute
)

func (o Options) controller() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: o.Concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause),
	}
}

// Indexed fields: who names whom.
const (
	indexOwner       = "kohort.dev/owner"
	indexPlatform    = "spec.platformRef.name"
	indexSecret      = "kohort.dev/secret"
	indexAudience    = "kohort.dev/audience"
	indexDestination = "kohort.dev/destination"
	indexSuppress    = "kohort.dev/suppress"
)

func index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range []struct {
		obj   client.Object
		field string
		value client.IndexerFunc
	}{
		{&corev1.Pod{}, indexOwner, ownersOf},
		{&batchv1.Job{}, indexOwner, ownersOf},
		{&v1alpha1.Source{}, indexPlatform, value(func(s *v1alpha1.Source) []string { return []string{s.Spec.PlatformRef.Name} })},
		{&v1alpha1.Source{}, indexSecret, value(sourceSecrets)},
		{&v1alpha1.Audience{}, indexPlatform, value(func(a *v1alpha1.Audience) []string { return []string{a.Spec.PlatformRef.Name} })},
		{&v1alpha1.Audience{}, indexAudience, value(audience.References)},
		{&v1alpha1.Audience{}, indexDestination, value(audienceDestinations)},
		{&v1alpha1.Destination{}, indexPlatform, value(func(d *v1alpha1.Destination) []string { return []string{d.Spec.PlatformRef.Name} })},
		{&v1alpha1.Destination{}, indexSecret, value(destinationSecrets)},
		{&v1alpha1.Destination{}, indexSuppress, value(destinationSuppressors)},
		{&v1alpha1.Sync{}, indexPlatform, value(func(s *v1alpha1.Sync) []string { return []string{s.Spec.PlatformRef.Name} })},
		{&v1alpha1.Sync{}, indexAudience, value(func(s *v1alpha1.Sync) []string { return []string{s.Spec.AudienceRef.Name} })},
		{&v1alpha1.Sync{}, indexDestination, value(func(s *v1alpha1.Sync) []string { return []string{s.Spec.DestinationRef.Name} })},
		{&v1alpha1.RetentionPolicy{}, indexPlatform, value(func(r *v1alpha1.RetentionPolicy) []string { return []string{r.Spec.PlatformRef.Name} })},
	} {
		if err := indexer.IndexField(ctx, i.obj, i.field, i.value); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", i.obj, i.field, err)
		}
	}
	return nil
}

func value[T client.Object](of func(T) []string) client.IndexerFunc {
	return func(o client.Object) []string {
		typed, ok := o.(T)
		if !ok {
			return nil
		}
		return of(typed)
	}
}

// sourceSecrets are the Secrets whose coming and going matters to a Source, the made one among them.
func sourceSecrets(s *v1alpha1.Source) []string {
	var names []string
	for _, c := range source.Credentials(s) {
		names = append(names, c.Ref.Name)
	}
	if key := source.MadeSecret(s); key != nil {
		names = append(names, key.Name)
	}
	return names
}

func destinationSecrets(d *v1alpha1.Destination) []string {
	var names []string
	for _, c := range destination.Credentials(d) {
		names = append(names, c.Ref.Name)
	}
	return names
}

func destinationSuppressors(d *v1alpha1.Destination) []string {
	var names []string
	for _, ref := range d.Spec.Suppress {
		names = append(names, ref.Name)
	}
	return names
}

func audienceDestinations(a *v1alpha1.Audience) []string {
	names := make([]string, 0, len(a.Spec.Destinations))
	for _, d := range a.Spec.Destinations {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
