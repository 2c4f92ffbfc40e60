// Package sync knows which runs keep a Destination equal to an Audience, and what they say. It is pure: facts in, Jobs
// and conditions out.
package sync

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/destination"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/schedule"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/controllers/platform"
	"kohort.dev/kohort/internal/run"
)

// Facts are what was found in the cluster.
type Facts struct {
	Platform    facts.Platform
	Audience    *v1alpha1.Audience    // nil when there is none
	Destination *v1alpha1.Destination // nil when there is none
	Suppress    []*v1alpha1.Audience  // that the Destination names in spec.suppress, in its order; nil where there is none
	Secret      *facts.Secret         // that the Destination names: the first that is missing, if one is; nil when it names none
}

// EvaluatedGeneration is the generation of the Audience that the membership was computed from, if that is the newest one.
func (f Facts) EvaluatedGeneration() (int64, bool) {
	if f.Audience == nil || f.Audience.Status.EvaluatedGeneration == nil {
		return 0, false
	}
	generation := *f.Audience.Status.EvaluatedGeneration
	return generation, generation == f.Audience.Generation
}

// Order is what a run is asked to do, but for its slot. The Destination must be there.
func Order(s *v1alpha1.Sync, d *v1alpha1.Destination) run.SyncOrder {
	order := run.SyncOrder{
		Platform: s.Spec.PlatformRef.Name, Sync: s.Name, Audience: s.Spec.AudienceRef.Name, Destination: s.Spec.DestinationRef.Name,
		Mode: string(s.Spec.Mode), Identifiers: s.Spec.Identifiers, Traits: s.Spec.Traits,
	}
	order.Resync = Resync(s)
	order.Delivery = delivery(d.Spec)
	for _, other := range d.Spec.Suppress {
		order.Suppress = append(order.Suppress, other.Name)
	}
	setTarget(&order, d.Spec)
	return order
}

// Resync is what kohort.dev/resync-at asks for, or asked for before it was taken away: empty when it never did.
func Resync(s *v1alpha1.Sync) string {
	if asked := runs.Asked(s.Annotations, v1alpha1.ResyncAnnotation); asked != "" {
		return asked
	}
	return s.Status.LastHandledResync
}

// Wish is what decides when the next run is due. Every change of what is delivered, or of the Audience itself, makes one
// due at once: nobody should wait for a daily slot to see an edit arrive.
func Wish(s *v1alpha1.Sync, f Facts) (runs.Wish, error) {
	parsed, err := schedule.Parse(string(s.Spec.Schedule), s.Spec.TimeZone)
	if err != nil {
		return runs.Wish{}, fmt.Errorf("spec.schedule: %w", err)
	}
	wish := runs.Wish{
		Owner: s.Name, Anchor: s.CreationTimestamp.Time, Schedule: &parsed,
		Request: runs.Requested(s.Annotations), Handled: s.Status.LastHandledRequest,
		OnChange: true,
	}
	if f.Destination == nil || f.Audience == nil {
		return wish, nil
	}
	generation, _ := f.EvaluatedGeneration()
	more := []any{generation}
	if status := f.Audience.Status; status.RolledBackTo != nil && status.Revision != nil {
		more = append(more, *status.Revision) // members that were brought back are delivered at once, and so are those of the rule again
	}
	if len(f.Suppress) > 0 { // who is suppressed by another rule is dealt with at once
		more = append(more, Hold(f) != "")
		for _, other := range f.Suppress {
			if other != nil && other.Status.EvaluatedGeneration != nil {
				more = append(more, *other.Status.EvaluatedGeneration)
			}
		}
	}
	if wish.Order, err = runs.Fingerprint(Order(s, f.Destination), more...); err != nil {
		return runs.Wish{}, err
	}
	wish.Version = fmt.Sprint(s.Generation, f.Audience.Generation, f.Destination.Generation)
	if Resync(s) != "" && s.Status.LastRun != nil {
		wish.Version += "/" + s.Status.LastRun.Name // a value that was used before is another change than it was then
	}
	if c := meta.FindStatusCondition(f.Audience.Status.Conditions, v1alpha1.ConditionEvaluated); c != nil {
		wish.Version += "/" + c.LastTransitionTime.UTC().Format(time.RFC3339) // tells the rule's members after a rollback from those before
	}
	return wish, nil
}

// Deliver is the Job of one run.
func Deliver(s *v1alpha1.Sync, f Facts, start runs.Start, fingerprint string, images workload.Images) (*batchv1ac.JobApplyConfiguration, error) {
	generation, _ := f.EvaluatedGeneration()
	job := workload.Job{Name: start.Name, Slot: start.Slot, Order: fingerprint, Generation: generation, Request: start.Request}
	order := Order(s, f.Destination)
	order.Hold = Hold(f) != ""
	return build(s, f.Destination, order, job, images)
}

// Drain is the Job that takes every member out of the Destination before the Sync goes.
func Drain(s *v1alpha1.Sync, d *v1alpha1.Destination, start runs.Start, images workload.Images) (*batchv1ac.JobApplyConfiguration, error) {
	order := Order(s, d)
	order.Drain = true
	return build(s, d, order, workload.Job{Name: start.Name, Slot: start.Slot, Request: start.Request, Drain: true}, images)
}

func build(s *v1alpha1.Sync, d *v1alpha1.Destination, order run.SyncOrder, job workload.Job, images workload.Images) (*batchv1ac.JobApplyConfiguration, error) {
	order.Slot = job.Slot.UTC().Truncate(time.Second)
	env, err := workload.Order(order)
	if err != nil {
		return nil, fmt.Errorf("building the run %s: %w", job.Name, err)
	}
	job.Namespace = s.Namespace
	job.Labels = naming.With(workload.RunLabels(s.Spec.PlatformRef.Name, naming.ComponentSync, s.Name, v1alpha1.SyncLabel), v1alpha1.DestinationLabel, d.Name)
	job.Container, job.Volumes = connector(s, d, "sync", env, images)
	return job.Build(), nil
}

// connector is the container of a run, with its volumes.
func connector(s *v1alpha1.Sync, d *v1alpha1.Destination, command string, env *corev1ac.EnvVarApplyConfiguration, images workload.Images) (workload.Container, []*corev1ac.VolumeApplyConfiguration) {
	platformName := s.Spec.PlatformRef.Name
	args := []string{"--warehouse-url", platform.WarehouseURL(platformName, s.Namespace), "--warehouse-credentials-dir", workload.WarehouseCredentials}
	volumes := []*corev1ac.VolumeApplyConfiguration{workload.SecretVolume("warehouse", naming.Warehouse(platformName), "")}
	mounts := []workload.Mount{{Volume: "warehouse", Path: workload.WarehouseCredentials, ReadOnly: true}}
	for _, c := range destination.Credentials(d) {
		args = append(args, c.Flag, c.Argument())
		volumes = append(volumes, workload.SecretVolume(c.Volume, c.Ref.Name, c.Ref.Key))
		mounts = append(mounts, workload.Mount{Volume: c.Volume, Path: c.Directory, ReadOnly: true})
	}
	if f := d.Spec.Files; f != nil && f.ClaimRef != nil {
		volumes = append(volumes, corev1ac.Volume().WithName("data").
			WithPersistentVolumeClaim(corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(f.ClaimRef.Name)))
		mounts = append(mounts, workload.Mount{Volume: "data", Path: workload.DataDirectory})
	}
	return workload.Container{
		Name: "sync", Image: images.Connector,
		Command: []string{workload.ConnectorBinary, command}, Args: args,
		Env:       []*corev1ac.EnvVarApplyConfiguration{env},
		Resources: workload.Resources("50m", "128Mi", "1Gi"), GoMemory: true,
		Mounts: mounts,
	}, volumes
}
