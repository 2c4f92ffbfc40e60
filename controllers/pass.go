// Package controllers reconciles Kohort's kinds. Every reconciler is the same pass: read the object and the facts around
// it, build what is wanted (package controllers/<kind>, pure), apply it, and say in the status how it went.
package controllers

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/apply"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/secrets"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/internal/workload"
)

// behindPause is how long the cache may need to see a write of ours.
const behindPause = 50 * time.Millisecond

// Options are what reconcilers need from outside.
type Options struct {
	// Images of the data plane.
	Images workload.Images
	// Now is the clock.
	Now func() time.Time
	// Random draws credentials.
	Random io.Reader
	// Concurrency is how many objects of a kind are reconciled at once.
	Concurrency int
}

// base is what every reconciler works with.
type base struct {
	client  client.Client
	live    client.Reader // past the cache
	applier *apply.Applier
	status  *status.Writer
	secrets *secrets.Keeper
	images  workload.Images
	now     func() time.Time

	mu   sync.Mutex
	uids map[types.NamespacedName]types.UID // of the objects of this reconciler's kind
}

// reconcile makes one pass over an object: step does the kind's work and changes obj's status in memory, and here it is
// written, once, if it has changed.
func (b *base) reconcile(ctx context.Context, req ctrl.Request, obj status.Object, step func(context.Context) outcome.Outcome) (ctrl.Result, error) {
	if err := b.client.Get(ctx, req.NamespacedName, obj); err != nil {
		if apierrors.IsNotFound(err) {
			b.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	b.know(req.NamespacedName, obj.GetUID())
	if b.status.Behind(obj) {
		return ctrl.Result{RequeueAfter: behindPause}, nil
	}
	before, ok := obj.DeepCopyObject().(status.Object)
	if !ok {
		return ctrl.Result{}, fmt.Errorf("copying %T gave another type", obj)
	}
	result := step(ctx)
	if result.IsReleased() {
		return ctrl.Result{}, nil
	}
	result.Summarise(obj.Common(), obj.GetGeneration(), b.now())
	if err := b.status.Write(ctx, before, obj, result); err != nil {
		return outcome.Retry(err).Result()
	}
	return result.Result()
}

// know keeps the UID under an object's name; one that was made anew has another.
func (b *base) know(name types.NamespacedName, uid types.UID) {
	b.mu.Lock()
	was := b.uids[name]
	b.uids[name] = uid
	b.mu.Unlock()
	if was != "" && was != uid {
		b.status.Forget(was)
		b.applier.Forget(was)
	}
}

// forget drops what is remembered of an object that is gone.
func (b *base) forget(name types.NamespacedName) {
	b.mu.Lock()
	uid := b.uids[name]
	delete(b.uids, name)
	b.mu.Unlock()
	b.status.Forget(uid)
	b.applier.Forget(uid)
}

// platform reads the facts of the Platform that an object belongs to.
func (b *base) platform(ctx context.Context, namespace, name string) (facts.Platform, error) {
	p := &v1alpha1.Platform{}
	found, err := b.find(ctx, namespace, name, p)
	if err != nil || !found {
		return facts.PlatformOf(name, nil), err
	}
	return facts.PlatformOf(name, p), nil
}

// find reads an object from the cache and says whether it is there.
func (b *base) find(ctx context.Context, namespace, name string, obj client.Object) (bool, error) {
	err := b.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %T %s: %w", obj, name, err)
	}
	return true, nil
}

// secret looks at the Secret that a field names; nil when it names none.
func (b *base) secret(ctx context.Context, namespace string, ref *v1alpha1.SecretKeyReference, field string) (*facts.Secret, error) {
	if ref == nil {
		return nil, nil
	}
	return b.secrets.Look(ctx, namespace, *ref, field)
}

// hold adds a finalizer before there is anything that it protects.
func (b *base) hold(ctx context.Context, obj client.Object, finalizer string) error {
	if controllerutil.ContainsFinalizer(obj, finalizer) {
		return nil
	}
	return b.patch(ctx, obj, func(o client.Object) { controllerutil.AddFinalizer(o, finalizer) })
}

// release takes a finalizer away; then the object goes.
func (b *base) release(ctx context.Context, obj client.Object, finalizer string) outcome.Outcome {
	err := b.patch(ctx, obj, func(o client.Object) { controllerutil.RemoveFinalizer(o, finalizer) })
	if client.IgnoreNotFound(err) != nil {
		return outcome.Retry(err)
	}
	return outcome.Released()
}

// patch changes metadata of an object, unless somebody else has changed the object since it was read.
func (b *base) patch(ctx context.Context, obj client.Object, change func(client.Object)) error {
	changed, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T gave another type", obj)
	}
	change(changed)
	original, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copying %T gave another type", obj)
	}
	if err := b.client.Patch(ctx, changed, client.MergeFromWithOptions(original, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("changing the metadata of %T %s: %w", obj, obj.GetName(), err)
	}
	obj.SetFinalizers(changed.GetFinalizers())
	obj.SetResourceVersion(changed.GetResourceVersion())
	return nil
}

// requested is what a person asks for with kohort.dev/requested-at.
func requested(obj client.Object) string { return runs.Requested(obj.GetAnnotations()) }

// echo says that a request was acted on, for kinds where a pass is all that can be done about it.
func echo(obj status.Object) { obj.Common().LastHandledRequest = requested(obj) }
