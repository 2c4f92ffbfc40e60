// Package audience knows which Syncs an Audience has and how it is doing. It is pure: facts in, objects and conditions
// out. What criteria mean is known by the package of the same name in the data plane.
package audience

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/schedule"
)

// Facts are what was found in the cluster.
type Facts struct {
	Platform facts.Platform
	// Known are the Audiences of the namespace by name.
	Known map[string]*v1alpha1.Audience
	// Destinations of the namespace by name.
	Destinations map[string]*v1alpha1.Destination
	// Syncs that this Audience owns, by name.
	Syncs map[string]*v1alpha1.Sync
}

// Sync is what the operator wants a Sync to be.
type Sync struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   Metadata          `json:"metadata"`
	Spec       v1alpha1.SyncSpec `json:"spec"`
}

// Metadata is what of a Sync's metadata the operator owns.
type Metadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

// IsApplyConfiguration makes a Sync one that can be applied.
func (*Sync) IsApplyConfiguration() {}

// Syncs are the Syncs of an Audience, one per destination, in the order of the spec.
func Syncs(a *v1alpha1.Audience) []runtime.ApplyConfiguration {
	out := make([]runtime.ApplyConfiguration, 0, len(a.Spec.Destinations))
	for _, d := range a.Spec.Destinations {
		out = append(out, sync(a, d))
	}
	return out
}

func sync(a *v1alpha1.Audience, d v1alpha1.AudienceDestination) *Sync {
	return &Sync{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Sync",
		Metadata: Metadata{
			Name: naming.Sync(a.Name, d.Name), Namespace: a.Namespace,
			Labels: naming.Labels(a.Spec.PlatformRef.Name, naming.ComponentSync, a.Name),
		},
		Spec: v1alpha1.SyncSpec{
			PlatformRef: a.Spec.PlatformRef, AudienceRef: v1alpha1.LocalReference{Name: a.Name}, DestinationRef: v1alpha1.LocalReference{Name: d.Name},
			Mode: d.GetMode(), Schedule: d.GetSchedule(), TimeZone: d.TimeZone,
			Identifiers: d.Identifiers, Traits: d.Traits,
			DeletionPolicy: a.GetDeletionPolicy(), Suspend: a.Spec.Suspend,
		},
	}
}

// Leaving is a Sync that is being deleted, with the Audience's newest word on what happens to the members. It is the way
// out for a person when a destination can no longer be drained: set spec.deletionPolicy to Retain.
func Leaving(a *v1alpha1.Audience, s *v1alpha1.Sync) runtime.ApplyConfiguration {
	spec := s.Spec
	spec.DeletionPolicy = a.GetDeletionPolicy()
	return &Sync{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Sync",
		Metadata: Metadata{Name: s.Name, Namespace: s.Namespace, Labels: naming.Labels(spec.PlatformRef.Name, naming.ComponentSync, a.Name)},
		Spec:     spec,
	}
}

// Superfluous are the Syncs of an Audience whose destination the spec no longer has.
func Superfluous(a *v1alpha1.Audience, owned map[string]*v1alpha1.Sync) []*v1alpha1.Sync {
	wanted := map[string]bool{}
	for _, d := range a.Spec.Destinations {
		wanted[naming.Sync(a.Name, d.Name)] = true
	}
	var out []*v1alpha1.Sync
	for name, s := range owned {
		if !wanted[name] {
			out = append(out, s)
		}
	}
	return out
}

// Schedules checks the schedules of the destinations; the error names the field.
func Schedules(a *v1alpha1.Audience) error {
	for _, d := range a.Spec.Destinations {
		if _, err := schedule.Parse(string(d.GetSchedule()), d.TimeZone); err != nil {
			return fmt.Errorf("spec.destinations[%s].schedule: %w", d.Name, err)
		}
	}
	return nil
}
