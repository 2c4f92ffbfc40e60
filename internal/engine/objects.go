package engine

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
)

// objects reads what people wrote for one Platform, from the cache.
type objects struct {
	reader              client.Reader
	namespace, platform string
}

// get gives the Platform, nil when there is none.
func (o objects) get(ctx context.Context) (*v1alpha1.Platform, error) {
	var p v1alpha1.Platform
	err := o.reader.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.platform}, &p)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Platform %s: %w", o.platform, err)
	}
	return &p, nil
}

// sources of the Platform.
func (o objects) sources(ctx context.Context) ([]*v1alpha1.Source, error) {
	var list v1alpha1.SourceList
	if err := o.reader.List(ctx, &list, client.InNamespace(o.namespace)); err != nil {
		return nil, fmt.Errorf("listing Sources: %w", err)
	}
	var out []*v1alpha1.Source
	for i := range list.Items {
		if list.Items[i].Spec.PlatformRef.Name == o.platform {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// audiences of the Platform, and all of the namespace by name, which references are looked up in.
func (o objects) audiences(ctx context.Context) (own []*v1alpha1.Audience, known map[string]*v1alpha1.Audience, err error) {
	var list v1alpha1.AudienceList
	if err := o.reader.List(ctx, &list, client.InNamespace(o.namespace)); err != nil {
		return nil, nil, fmt.Errorf("listing Audiences: %w", err)
	}
	known = make(map[string]*v1alpha1.Audience, len(list.Items))
	for i := range list.Items {
		a := &list.Items[i]
		known[a.Name] = a
		if a.Spec.PlatformRef.Name == o.platform {
			own = append(own, a)
		}
	}
	return own, known, nil
}

// policies of the Platform.
func (o objects) policies(ctx context.Context) ([]*v1alpha1.RetentionPolicy, error) {
	var list v1alpha1.RetentionPolicyList
	if err := o.reader.List(ctx, &list, client.InNamespace(o.namespace)); err != nil {
		return nil, fmt.Errorf("listing RetentionPolicies: %w", err)
	}
	var out []*v1alpha1.RetentionPolicy
	for i := range list.Items {
		if list.Items[i].Spec.PlatformRef.Name == o.platform {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}
