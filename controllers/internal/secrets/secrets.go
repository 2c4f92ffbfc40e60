// Package secrets makes Secrets and looks at which keys they have. It never keeps, returns or logs their content: a
// Secret is watched by its metadata, and read only when that has changed, for the names of its keys.
package secrets

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
)

// randomBytes makes 256 bits, which nobody guesses.
const randomBytes = 32

// Keeper makes Secrets and looks at their keys.
type Keeper struct {
	client client.Client // metadata from the cache
	live   client.Reader // content from the API server
	random io.Reader

	mu   sync.Mutex
	seen map[types.NamespacedName]look
}

// look is what a read found.
type look struct {
	uid     types.UID
	version string
	keys    map[string]bool // keys with content
}

// New makes a Keeper; random is crypto/rand.Reader.
func New(c client.Client, live client.Reader, random io.Reader) *Keeper {
	return &Keeper{client: c, live: live, random: random, seen: map[types.NamespacedName]look{}}
}

// Ensure makes a Secret unless one of its name is there, whoever made that: a person may have put a value of their own.
func (k *Keeper) Ensure(ctx context.Context, owner client.Object, wanted workload.Secret) error {
	switch found, err := k.metadata(ctx, owner.GetNamespace(), wanted.Name); {
	case err != nil:
		return err
	case found != nil:
		return nil
	}
	gvk, err := k.client.GroupVersionKindFor(owner)
	if err != nil {
		return fmt.Errorf("finding the kind of %s: %w", owner.GetName(), err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: wanted.Name, Namespace: owner.GetNamespace(), Labels: wanted.Labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
	}, Data: map[string][]byte{}}
	for key, value := range wanted.Fixed {
		secret.Data[key] = []byte(value)
	}
	for _, key := range wanted.Random {
		raw := make([]byte, randomBytes)
		if _, err := io.ReadFull(k.random, raw); err != nil {
			return fmt.Errorf("drawing a credential for Secret %s: %w", wanted.Name, err)
		}
		secret.Data[key] = []byte(base64.RawURLEncoding.EncodeToString(raw))
	}
	if err := k.client.Create(ctx, secret, client.FieldOwner(naming.FieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Secret %s: %w", wanted.Name, err)
	}
	return nil
}

// Look says whether the Secret and the key that a field of a spec names are there.
func (k *Keeper) Look(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, field string) (*facts.Secret, error) {
	out := &facts.Secret{Ref: ref, Field: field}
	metadata, err := k.metadata(ctx, namespace, ref.Name)
	if err != nil || metadata == nil {
		return out, err
	}
	name := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	k.mu.Lock()
	known, ok := k.seen[name]
	k.mu.Unlock()
	if !ok || known.uid != metadata.UID || known.version != metadata.ResourceVersion {
		if known, err = k.read(ctx, name); err != nil {
			return nil, err
		}
		// Remembered under the version that the cache has: if the Secret has moved on since, the cache will too, and it is
		// read again.
		known.uid, known.version = metadata.UID, metadata.ResourceVersion
		k.mu.Lock()
		k.seen[name] = known
		k.mu.Unlock()
	}
	out.Found, out.HasKey = known.keys != nil, known.keys[ref.Key]
	return out, nil
}

func (k *Keeper) metadata(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := k.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, metadata)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for Secret %s: %w", name, err)
	}
	return metadata, nil
}

// read finds the keys of a Secret that have content; nil when it is gone.
func (k *Keeper) read(ctx context.Context, name types.NamespacedName) (look, error) {
	secret := &corev1.Secret{}
	err := k.live.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		return look{}, nil
	}
	if err != nil {
		return look{}, fmt.Errorf("reading the keys of Secret %s: %w", name.Name, err)
	}
	keys := map[string]bool{}
	for key, value := range secret.Data {
		keys[key] = len(value) > 0
	}
	return look{keys: keys}, nil
}
