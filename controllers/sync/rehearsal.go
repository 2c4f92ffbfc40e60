package sync

import (
	"fmt"
	"time"

	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/internal/run"
)

// ConnectorImageAnnotation stands on the Deployment of a Platform's engine and has the image of tests.
const ConnectorImageAnnotation = workload.ConnectorImageAnnotation

// EngineName is the name of that Deployment.
func EngineName(platform string) string { return naming.Engine(platform) }

const (
	// testDeadline ends a test whose pod does not come to run, or hangs.
	testDeadline = 3 * time.Minute
	// testKept is how long a test stays if whoever asked for it has gone.
	testKept = 5 * time.Minute
	// RecordKey is the key of the Secret that holds the record of a test; the Secret has the name of the Job.
	RecordKey = "record"
	// testManager stands as the manager of a test: a person's command, and not the operator, makes it.
	testManager = "kohort-cli"
)

// Test is the Job that shows what a Destination is sent of one record. It belongs to no Sync, and no run knows of it.
type Test struct {
	Name        string
	Sync        *v1alpha1.Sync // as the Audience would have it
	Destination *v1alpha1.Destination
	HasRecord   bool // in a Secret; otherwise a member of the audience is taken
	Send        bool
	Remove      bool
	Slot        time.Time // the moment that stands for that of a run
	Image       string    // of the connector
}

// TestName is the name of a test, of which more than one may run.
func TestName(destination, tag string) string {
	return naming.Fit(destination, 63-len(tag)-len("-test-")) + "-test-" + tag
}

// Job builds it.
func (t Test) Job() (*batchv1ac.JobApplyConfiguration, error) {
	order := run.TestOrder{SyncOrder: Order(t.Sync, t.Destination), Send: t.Send, Remove: t.Remove}
	order.Slot = t.Slot.UTC().Truncate(time.Second)
	env, err := workload.Order(order)
	if err != nil {
		return nil, fmt.Errorf("building the test %s: %w", t.Name, err)
	}
	labels := naming.Labels(t.Destination.Spec.PlatformRef.Name, naming.ComponentSync, t.Name)
	labels[naming.ManagedByLabel] = testManager            // so that it counts as no run
	labels[v1alpha1.DestinationLabel] = t.Destination.Name // NetworkPolicies let it go where runs go
	job := workload.Job{Name: t.Name, Namespace: t.Destination.Namespace, Labels: labels}
	job.Container, job.Volumes = connector(t.Sync, t.Destination, "test", env, workload.Images{Connector: t.Image})
	if t.HasRecord {
		job.Container.Args = append(job.Container.Args, "--record-file", workload.RecordDirectory+"/"+RecordKey)
		job.Container.Mounts = append(job.Container.Mounts, workload.Mount{Volume: RecordKey, Path: workload.RecordDirectory, ReadOnly: true})
		job.Volumes = append(job.Volumes, workload.SecretVolume(RecordKey, t.Name, RecordKey))
	}
	built := job.Build()
	built.Annotations = nil // those of a slot: it has none
	built.Spec.WithBackoffLimit(0).
		WithActiveDeadlineSeconds(int64(testDeadline.Seconds())).
		WithTTLSecondsAfterFinished(int32(testKept.Seconds()))
	return built, nil
}
