// Package apply brings children to what their owner wants, by server-side apply, and makes no call while they are so.
//
// An [Applier] remembers for each child what it applied last and what the API server made of it. As long as neither the
// wish nor the child in the cache has changed since, there is nothing to do; when anybody edits the child it differs
// from what is remembered, and is applied again. The memory is lost with the process: each child is then applied once,
// which changes nothing if it is right.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
)

// Applier applies children.
type Applier struct {
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server

	mu   sync.Mutex
	seen map[types.UID]memory // by child
}

// memory is what is known of a child after our newest write to it.
type memory struct {
	wish            string // hash of what we want
	state           string // fingerprint of what the API server made of it
	resourceVersion string
	owner           types.UID
}

// New makes an Applier.
func New(c client.Client, live client.Reader) *Applier {
	return &Applier{client: c, live: live, seen: map[types.UID]memory{}}
}

// TakenError says that a name that a child needs belongs to somebody else's object.
type TakenError struct {
	Kind, Namespace, Name string
}

// Error names the object and the remedy.
func (e *TakenError) Error() string {
	return fmt.Sprintf("%s %s exists and belongs to somebody else; delete or rename it, or use another name here", e.Kind, e.Name)
}

// Outcome is stalled: somebody has to take the other object away. No watch tells when that is done, for the cache holds
// only our own objects; so it is looked for.
func (e *TakenError) Outcome() outcome.Outcome {
	return outcome.Stall(v1alpha1.ReasonNameTaken, e.Error()).Again(takenPause)
}

// LeavingError says that a child of an earlier owner of the same name is still being deleted.
type LeavingError struct {
	Kind, Name string
}

// Error says what is waited for.
func (e *LeavingError) Error() string {
	return fmt.Sprintf("%s %s is still being deleted", e.Kind, e.Name)
}

// Outcome is progress: the garbage collector is at it.
func (e *LeavingError) Outcome() outcome.Outcome {
	return outcome.Progress(v1alpha1.ReasonProgressing, e.Error()).Again(leavingPause)
}

// Ensure brings every wish into being as a child of owner. It goes on after an error and gives all of them.
func (a *Applier) Ensure(ctx context.Context, owner client.Object, wishes ...runtime.ApplyConfiguration) error {
	var errs []error
	for _, wish := range wishes {
		if err := a.ensure(ctx, owner, wish); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (a *Applier) ensure(ctx context.Context, owner client.Object, configuration runtime.ApplyConfiguration) error {
	wish, err := a.wish(owner, configuration)
	if err != nil {
		return err
	}
	hash, err := hashOf(wish.Object)
	if err != nil {
		return err
	}
	live, err := a.find(ctx, a.client, wish)
	if err != nil {
		return err
	}
	if live != nil && a.remembered(live, wish, hash) {
		return nil
	}
	options := []client.ApplyOption{client.FieldOwner(naming.FieldManager)}
	if live == nil {
		// The cache holds only what carries our label, so somebody else's object of this name is seen only live. Without
		// force, one that appears between this look and the call ends in a conflict and is not taken over.
		if live, err = a.find(ctx, a.live, wish); err != nil {
			return err
		}
	}
	if live != nil {
		if err := owned(owner, live, wish.GetKind()); err != nil {
			return err
		}
		wish.SetUID(live.GetUID())
		options = append(options, client.ForceOwnership)
	}
	answer := wish.DeepCopy()
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(answer), options...); err != nil {
		return fmt.Errorf("applying %s %s: %w", wish.GetKind(), wish.GetName(), err)
	}
	return a.remember(owner, wish, answer, hash)
}

// wish is a configuration as it is sent: with its owner, so that it is deleted with it.
func (a *Applier) wish(owner client.Object, configuration runtime.ApplyConfiguration) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(configuration)
	if err != nil {
		return nil, fmt.Errorf("encoding a child of %s: %w", owner.GetName(), err)
	}
	wish := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, &wish.Object); err != nil {
		return nil, fmt.Errorf("encoding a child of %s: %w", owner.GetName(), err)
	}
	gvk, err := a.client.GroupVersionKindFor(owner)
	if err != nil {
		return nil, fmt.Errorf("finding the kind of %s: %w", owner.GetName(), err)
	}
	wish.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)})
	return wish, nil
}

// find reads the object that a wish names; nil when there is none.
func (a *Applier) find(ctx context.Context, reader client.Reader, wish *unstructured.Unstructured) (client.Object, error) {
	obj, err := a.typed(wish.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	err = reader.Get(ctx, client.ObjectKeyFromObject(wish), obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", wish.GetKind(), wish.GetName(), err)
	}
	return obj, nil
}

func (a *Applier) typed(gvk schema.GroupVersionKind) (client.Object, error) {
	obj, err := a.client.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("making a %s: %w", gvk.Kind, err)
	}
	typed, ok := obj.(client.Object)
	if !ok {
		return nil, fmt.Errorf("a %s is no object of the API", gvk.Kind)
	}
	return typed, nil
}

// remembered says that nothing has changed since our newest write, or that the cache has not seen it yet.
func (a *Applier) remembered(live client.Object, wish *unstructured.Unstructured, hash string) bool {
	a.mu.Lock()
	m, ok := a.seen[live.GetUID()]
	a.mu.Unlock()
	if !ok || m.wish != hash {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(live.GetResourceVersion(), m.resourceVersion); err == nil && order <= 0 {
		return true
	}
	state, err := fingerprint(live, wish)
	return err == nil && state == m.state
}

// remember keeps what the API server made of a wish.
func (a *Applier) remember(owner client.Object, wish, answer *unstructured.Unstructured, hash string) error {
	live, err := a.typed(answer.GroupVersionKind())
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, live); err != nil {
		return fmt.Errorf("reading the answer for %s %s: %w", answer.GetKind(), answer.GetName(), err)
	}
	state, err := fingerprint(live, wish)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[live.GetUID()] = memory{wish: hash, state: state, resourceVersion: live.GetResourceVersion(), owner: owner.GetUID()}
	return nil
}

// Forget drops what is remembered of the children of an owner that is gone.
func (a *Applier) Forget(owner types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for child, m := range a.seen {
		if m.owner == owner {
			delete(a.seen, child)
		}
	}
}
