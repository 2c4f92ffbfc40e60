// Package status is the one writer of status. It writes the fields that the operator owns, by server-side apply, and
// only when they differ from what the object holds; the engine's fields of the same status are never touched.
package status

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/outcome"
)

// Object is any kind of this API.
type Object interface {
	client.Object
	Common() *v1alpha1.CommonStatus
}

// engineConditions are written by the engine, under its own field manager.
var engineConditions = []string{v1alpha1.ConditionEvaluated, v1alpha1.ConditionEnforced, v1alpha1.ConditionTrackingPlanFollowed}

// commonFields are the operator's on every kind. Which further fields it owns is told to NewWriter by kind.
var commonFields = []string{"observedGeneration", "conditions", "lastHandledRequest"}

// Writer writes the operator's part of status.
type Writer struct {
	client   client.Client
	recorder events.EventRecorder
	fields   map[string][]string

	mu      sync.Mutex
	written map[types.UID]string // resourceVersion of our newest write
}

// NewWriter makes a Writer. fields are the status fields that the operator owns beside the common ones, by kind.
func NewWriter(c client.Client, recorder events.EventRecorder, fields map[string][]string) *Writer {
	return &Writer{client: c, recorder: recorder, fields: fields, written: map[types.UID]string{}}
}

// Behind says that a cached object is older than the Writer's last write to it: a pass over it would decide on what is
// no longer so.
func (w *Writer) Behind(obj client.Object) bool {
	w.mu.Lock()
	last := w.written[obj.GetUID()]
	w.mu.Unlock()
	if last == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), last)
	return err == nil && order < 0
}

// Forget drops what is remembered of an object that is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.written, uid)
}

// Write brings the operator's part of status from before to after, and then records an Event if Ready has changed.
// An object that is gone or was made anew meanwhile is no error.
func (w *Writer) Write(ctx context.Context, before, after Object, result outcome.Outcome) error {
	gvk, err := w.client.GroupVersionKindFor(after)
	if err != nil {
		return fmt.Errorf("finding the kind of %s: %w", after.GetName(), err)
	}
	was, err := w.owned(gvk.Kind, before)
	if err != nil {
		return err
	}
	is, err := w.owned(gvk.Kind, after)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(was, is) {
		return nil
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": after.GetName(), "namespace": after.GetNamespace(), "uid": string(after.GetUID())},
		"status":   listed(is),
	}}
	patch.SetGroupVersionKind(gvk)
	err = w.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(patch), client.FieldOwner(naming.FieldManager), client.ForceOwnership)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status of %s %s: %w", gvk.Kind, after.GetName(), err)
	}
	w.mu.Lock()
	w.written[after.GetUID()] = patch.GetResourceVersion()
	w.mu.Unlock()
	w.tell(before, after, result)
	return nil
}

// tell records an Event on a transition of Ready.
func (w *Writer) tell(before, after Object, result outcome.Outcome) {
	is := meta.FindStatusCondition(after.Common().Conditions, v1alpha1.ConditionReady)
	was := meta.FindStatusCondition(before.Common().Conditions, v1alpha1.ConditionReady)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	w.Tell(after, result.EventType(), is.Reason, is.Message)
}

// Tell records an Event about an object. Call it after the write that it tells of.
func (w *Writer) Tell(obj client.Object, eventType, reason, message string) {
	w.recorder.Eventf(obj, nil, eventType, reason, "Reconcile", "%s", outcome.Cut(message))
}

// owned is the operator's part of an object's status, with the conditions by type.
func (w *Writer) owned(kind string, obj Object) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("reading the status of %s %s: %w", kind, obj.GetName(), err)
	}
	all, _ := content["status"].(map[string]any)
	out := map[string]any{}
	for name, value := range all {
		if slices.Contains(commonFields, name) || slices.Contains(w.fields[kind], name) {
			out[name] = value
		}
	}
	conditions := map[string]any{}
	list, _ := out["conditions"].([]any)
	for _, item := range list {
		condition, _ := item.(map[string]any)
		if name, _ := condition["type"].(string); !slices.Contains(engineConditions, name) {
			conditions[name] = condition
		}
	}
	out["conditions"] = conditions
	return out, nil
}

// listed turns the conditions back into the list that the API has, sorted by type.
func listed(owned map[string]any) map[string]any {
	out := make(map[string]any, len(owned))
	for name, value := range owned {
		out[name] = value
	}
	byType := owned["conditions"].(map[string]any)
	names := make([]string, 0, len(byType))
	for name := range byType {
		names = append(names, name)
	}
	slices.Sort(names)
	list := make([]any, 0, len(names))
	for _, name := range names {
		list = append(list, byType[name])
	}
	out["conditions"] = list
	return out
}

// Set sets domain conditions of an object in memory; a condition whose status is empty is taken away. A condition that
// stays as it was keeps its transition time.
func Set(obj Object, now time.Time, conditions ...metav1.Condition) {
	for _, condition := range conditions {
		if condition.Status == "" {
			meta.RemoveStatusCondition(&obj.Common().Conditions, condition.Type)
			continue
		}
		condition.Message = outcome.Cut(condition.Message)
		condition.ObservedGeneration = obj.GetGeneration()
		condition.LastTransitionTime = metav1.NewTime(now)
		meta.SetStatusCondition(&obj.Common().Conditions, condition)
	}
}
