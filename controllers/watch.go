package controllers

import (
	"context"
	"reflect"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
)

// changed lets an update through only when what look sees of the object is another. Creations and deletions always go
// through.
func changed[T client.Object](look func(T) any) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		after, ok2 := e.ObjectNew.(T)
		return ok && ok2 && !reflect.DeepEqual(look(before), look(after))
	}}
}

// asked is what a person asks of an object: its spec (and its deletion, which counts as a generation), and a run now.
// Our own writes to the status are neither, so they cause no pass.
func asked() predicate.Predicate {
	return changed(func(o client.Object) any { return wishes(o) })
}

type wish struct {
	generation int64
	request    string
	resync     string
	leaving    bool
}

func wishes(o client.Object) wish {
	return wish{generation: o.GetGeneration(), request: requested(o), resync: o.GetAnnotations()[v1alpha1.ResyncAnnotation], leaving: o.GetDeletionTimestamp() != nil}
}

// condition is what others see of a condition.
type condition struct {
	status     metav1.ConditionStatus
	reason     string
	generation int64
}

func conditionOf(conditions []metav1.Condition, name string) condition {
	c := meta.FindStatusCondition(conditions, name)
	if c == nil {
		return condition{}
	}
	return condition{status: c.Status, reason: c.Reason, generation: c.ObservedGeneration}
}

func messageOf(conditions []metav1.Condition, name string) string {
	if c := meta.FindStatusCondition(conditions, name); c != nil {
		return c.Message
	}
	return ""
}

// specOf lets changes of a child's spec and of our labels through, and not those of a status that moves all the time.
func specOf[T client.Object](spec func(T) any) predicate.Predicate {
	type seen struct {
		labels map[string]string
		owners []metav1.OwnerReference
		spec   any
	}
	return changed(func(o T) any {
		return seen{labels: o.GetLabels(), owners: o.GetOwnerReferences(), spec: spec(o)}
	})
}

// platformServes is what others need to know of their Platform.
func platformServes() predicate.Predicate {
	type seen struct {
		suspended, leaving bool
		store              condition
	}
	return changed(func(p *v1alpha1.Platform) any {
		return seen{suspended: p.Spec.Suspend, leaving: p.DeletionTimestamp != nil, store: conditionOf(p.Status.Conditions, v1alpha1.ConditionStoreAvailable)}
	})
}

// byLabel finds the owner of a pod or a claim in a label, if it belongs to one of the components.
func byLabel(label string, components ...string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[label]
		if name == "" || !slices.Contains(components, o.GetLabels()[v1alpha1.ComponentLabel]) {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
	})
}

// byIndex finds the objects of a list's kind that name the object in an indexed field.
func byIndex(c client.Reader, list client.ObjectList, field string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return referring(ctx, c, list, field, o.GetNamespace(), o.GetName())
	})
}

// referring lists who names an object in an indexed field. The cache answers; it cannot fail once it has started.
func referring(ctx context.Context, c client.Reader, list client.ObjectList, field, namespace, name string) []reconcile.Request {
	found, ok := list.DeepCopyObject().(client.ObjectList)
	if !ok {
		return nil
	}
	if err := c.List(ctx, found, client.InNamespace(namespace), client.MatchingFields{field: name}); err != nil {
		return nil
	}
	var requests []reconcile.Request
	_ = meta.EachListItem(found, func(item runtime.Object) error {
		if o, ok := item.(client.Object); ok {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		}
		return nil
	})
	return requests
}

// secretMetadata stands for Secrets of which only the metadata is watched.
func secretMetadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

// Kinds that own pods and Jobs, in ownerKey.
const (
	kindPlatform = "platform"
	kindSource   = "source"
	kindSync     = "sync"
)

// ownerKey is the value of the index of pods and Jobs by owner.
func ownerKey(kind, component, name string) string { return kind + "/" + component + "/" + name }

// ownersOf are the index values of a pod or a Job, from its labels.
func ownersOf(o client.Object) []string {
	labels := o.GetLabels()
	component := labels[v1alpha1.ComponentLabel]
	switch component {
	case naming.ComponentStore, naming.ComponentEngine:
		return []string{ownerKey(kindPlatform, component, labels[v1alpha1.PlatformLabel])}
	case naming.ComponentCollector, naming.ComponentListener, naming.ComponentPuller:
		return []string{ownerKey(kindSource, component, labels[v1alpha1.SourceLabel])}
	case naming.ComponentSync:
		return []string{ownerKey(kindSync, component, labels[v1alpha1.SyncLabel])}
	default:
		return nil
	}
}

// pods lists the pods of an owner.
func (b *base) pods(ctx context.Context, namespace, owner string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := b.client.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{indexOwner: owner})
	return list.Items, err
}

// jobs lists the Jobs of an owner.
func (b *base) jobs(ctx context.Context, namespace, owner string) ([]batchv1.Job, error) {
	list := &batchv1.JobList{}
	err := b.client.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{indexOwner: owner})
	return list.Items, err
}
