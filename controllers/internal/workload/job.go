package workload

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/internal/run"
)

const (
	// jobRetries : pauses of 10 s, 20 s, 40 s, 80 s, 160 s and 320 s between tries add up to ten minutes, enough for a
	// store or a destination to come back.
	jobRetries = 6
	// jobDeadline ends a run that hangs; a schedule must not stop for ever because of one.
	jobDeadline = 6 * time.Hour
	jobGrace    = 30
	// jobTemporary holds a file that is read or unpacked on the way.
	jobTemporary = "2Gi"
)

// Job is one run.
type Job struct {
	Name, Namespace string
	Labels          map[string]string
	Slot            time.Time
	From            time.Time // zero: not known
	Order           string    // fingerprint
	Generation      int64
	Request         string
	Drain           bool
	Container       Container
	Volumes         []*corev1ac.VolumeApplyConfiguration
}

// Build builds the Job. It is made once and never changed.
func (j Job) Build() *batchv1ac.JobApplyConfiguration {
	annotations := map[string]string{
		naming.SlotAnnotation:       j.Slot.UTC().Format(time.RFC3339),
		naming.OrderAnnotation:      j.Order,
		naming.GenerationAnnotation: strconv.FormatInt(j.Generation, 10),
	}
	if !j.From.IsZero() {
		annotations[naming.FromAnnotation] = j.From.UTC().Format(time.RFC3339)
	}
	if j.Request != "" {
		annotations[naming.RequestAnnotation] = j.Request
	}
	if j.Drain {
		annotations[naming.DrainAnnotation] = "true"
	}
	pod := Pod{
		Labels: j.Labels, Containers: []Container{j.Container}, Volumes: j.Volumes,
		GraceSeconds: jobGrace, RestartNever: true, TemporarySize: jobTemporary,
	}
	return batchv1ac.Job(j.Name, j.Namespace).WithLabels(j.Labels).WithAnnotations(annotations).
		WithSpec(batchv1ac.JobSpec().
			WithBackoffLimit(jobRetries).
			WithActiveDeadlineSeconds(int64(jobDeadline.Seconds())).
			WithPodReplacementPolicy(batchv1.Failed). // never two pods of one run at once
			WithPodFailurePolicy(batchv1ac.PodFailurePolicy().WithRules(
				batchv1ac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionFailJob).
					WithOnExitCodes(batchv1ac.PodFailurePolicyOnExitCodesRequirement().
						WithContainerName(j.Container.Name).
						WithOperator(batchv1.PodFailurePolicyOnExitCodesOpIn).WithValues(run.ExitFatal)),
				// A drained node is nobody's failure and counts as no try.
				batchv1ac.PodFailurePolicyRule().WithAction(batchv1.PodFailurePolicyActionIgnore).
					WithOnPodConditions(batchv1ac.PodFailurePolicyOnPodConditionsPattern().
						WithType(corev1.DisruptionTarget).WithStatus(corev1.ConditionTrue)))).
			WithTemplate(pod.Template()))
}

// Order puts an order into the environment of its run.
func Order(order any) (*corev1ac.EnvVarApplyConfiguration, error) {
	text, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("encoding an order: %w", err)
	}
	return corev1ac.EnvVar().WithName(run.OrderVariable).WithValue(string(text)), nil
}

// RunLabels are those of a run's Job and pods.
func RunLabels(platform, component, owner, ownerLabel string) map[string]string {
	return naming.With(naming.Labels(platform, component, owner), ownerLabel, owner)
}
