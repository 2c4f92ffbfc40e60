// Package facts holds what a reconciler found out about objects that another one refers to. What is missing is a fact
// too, and no error: it may still come.
package facts

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/outcome"
)

// Platform is what others need to know of theirs.
type Platform struct {
	Name string
	// Found : it is there and is not being deleted.
	Found bool
	// Serves : its store takes and gives data.
	Serves bool
	// Suspended : its engine is stopped.
	Suspended bool
}

// PlatformOf reads the facts of a Platform; nil is a missing one.
func PlatformOf(name string, p *v1alpha1.Platform) Platform {
	f := Platform{Name: name}
	if p == nil || p.DeletionTimestamp != nil {
		return f
	}
	f.Found, f.Suspended = true, p.Spec.Suspend
	f.Serves = meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStoreAvailable)
	return f
}

// NotFound waits for a Platform to be made.
func (p Platform) NotFound() outcome.Outcome {
	return outcome.Wait(v1alpha1.ReasonPlatformNotFound, fmt.Sprintf("spec.platformRef: there is no Platform %s in this namespace; create it", p.Name))
}

// NotServing waits for a Platform's store. It is progress, for most often both were made together; the Platform itself
// says when something is wrong.
func (p Platform) NotServing() outcome.Outcome {
	return outcome.Progress(v1alpha1.ReasonPlatformNotReady, fmt.Sprintf("Platform %s does not serve yet; kubectl describe platform %s tells why", p.Name, p.Name))
}

// Stopped waits for a suspended Platform.
func (p Platform) Stopped() outcome.Outcome {
	return outcome.Wait(v1alpha1.ReasonPlatformNotReady, fmt.Sprintf("Platform %s is suspended; set its spec.suspend to false", p.Name))
}

// Secret is what is known of one key of a Secret.
type Secret struct {
	Ref v1alpha1.SecretKeyReference
	// Field of the spec that names it.
	Field string
	// Found : the Secret is there. HasKey : so is the key, and it is not empty.
	Found, HasKey bool
}

// Missing says what is wrong with a Secret and what to do; empty when it is right.
func (s Secret) Missing() string {
	switch {
	case !s.Found:
		return fmt.Sprintf("%s: there is no Secret %s; create it with the key %s", s.Field, s.Ref.Name, s.Ref.Key)
	case !s.HasKey:
		return fmt.Sprintf("%s: Secret %s has no key %s, or it is empty; add it", s.Field, s.Ref.Name, s.Ref.Key)
	default:
		return ""
	}
}
