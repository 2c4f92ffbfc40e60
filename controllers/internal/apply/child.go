package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/controllers/internal/naming"
)

const (
	// leavingPause is how long to wait for the garbage collector before looking again.
	leavingPause = time.Second
	// takenPause is how long to wait for a person.
	takenPause = 30 * time.Second
)

// CreateOnce makes a child that is never changed afterwards, such as a run's Job. One of ours that is there already is
// fine; made says that it was not.
func (a *Applier) CreateOnce(ctx context.Context, owner client.Object, configuration runtime.ApplyConfiguration) (made bool, err error) {
	wish, err := a.wish(owner, configuration)
	if err != nil {
		return false, err
	}
	kind, name := wish.GetKind(), wish.GetName()
	key := wish.DeepCopy()
	err = a.client.Create(ctx, wish, client.FieldOwner(naming.FieldManager))
	if err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("creating %s %s: %w", kind, name, err)
	}
	live, err := a.find(ctx, a.live, key)
	if err != nil || live == nil {
		return false, err
	}
	return false, owned(owner, live, kind)
}

// Remove deletes a child if it is there and owner's; options say how.
func (a *Applier) Remove(ctx context.Context, owner, child client.Object, options ...client.DeleteOption) error {
	err := a.client.Get(ctx, client.ObjectKeyFromObject(child), child)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %T %s: %w", child, child.GetName(), err)
	}
	if !metav1.IsControlledBy(child, owner) || child.GetDeletionTimestamp() != nil {
		return nil
	}
	uid := child.GetUID()
	options = append(options, client.Preconditions{UID: &uid})
	if err := a.client.Delete(ctx, child, options...); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s: %w", child, child.GetName(), err)
	}
	return nil
}

// owned is nil when a live object is owner's child.
func owned(owner, live client.Object, kind string) error {
	controller := metav1.GetControllerOf(live)
	switch {
	case controller != nil && controller.UID == owner.GetUID():
		return nil
	case live.GetDeletionTimestamp() != nil, controller != nil && controller.Name == owner.GetName() && isOurs(live):
		return &LeavingError{Kind: kind, Name: live.GetName()}
	default:
		return &TakenError{Kind: kind, Namespace: live.GetNamespace(), Name: live.GetName()}
	}
}

// isOurs says that the operator made an object.
func isOurs(obj client.Object) bool {
	return obj.GetLabels()[naming.ManagedByLabel] == naming.FieldManager
}

// fingerprint is what of a live object would change if somebody edited what we want of it. It is the generation where
// the API server counts one, because the status of those kinds changes all the time; the whole content otherwise. Labels
// and annotations move no generation and others may add theirs, so only ours are looked at.
func fingerprint(live client.Object, wish *unstructured.Unstructured) (string, error) {
	state := map[string]any{"generation": live.GetGeneration()}
	labels, annotations := map[string]string{}, map[string]string{}
	for name := range wish.GetLabels() {
		labels[name] = live.GetLabels()[name]
	}
	for name := range wish.GetAnnotations() {
		annotations[name] = live.GetAnnotations()[name]
	}
	state["labels"], state["annotations"], state["owners"] = labels, annotations, live.GetOwnerReferences()
	if live.GetGeneration() == 0 {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", live.GetName(), err)
		}
		for name, value := range content {
			switch name {
			case "metadata", "status", "apiVersion", "kind":
			default:
				state["content."+name] = value
			}
		}
	}
	return hashOf(state)
}

// hashOf is the SHA-256 of a value's JSON, whose maps are sorted.
func hashOf(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
