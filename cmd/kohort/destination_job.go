package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/controllers/sync"
	"kohort.dev/kohort/internal/run"
)

const (
	// testPatience is how long a test's pod may take; its Job ends it a little later.
	testPatience = 150 * time.Second
	// maxLog of a test's pod: a request of one record and its answer are far smaller.
	maxLog = 4 << 20
)

// rehearse runs a test in the cluster, and takes everything away again that it needed.
func (c *connection) rehearse(ctx context.Context, test sync.Test, record *run.Record) ([]byte, error) {
	if test.Image == "" {
		var err error
		if test.Image, err = c.connectorImage(ctx, test.Destination.Spec.PlatformRef.Name); err != nil {
			return nil, err
		}
	}
	job, err := c.createTest(ctx, test, record)
	if job != nil {
		defer c.deleteTest(context.WithoutCancel(ctx), job.Name)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	pod, err := c.ended(ctx, job.Name)
	if err != nil {
		return nil, err
	}
	return c.said(ctx, pod)
}

// connectorImage is the one that the operator runs syncs with.
func (c *connection) connectorImage(ctx context.Context, platform string) (string, error) {
	name := sync.EngineName(platform)
	engine, err := c.client.AppsV1().Deployments(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", hint(fmt.Errorf("looking for the connector's image on Deployment %s: %w", name, err), "name the image with --image")
	}
	image := engine.Annotations[sync.ConnectorImageAnnotation]
	if image == "" {
		return "", hint(fmt.Errorf("Deployment %s has no annotation %s", name, sync.ConnectorImageAnnotation), "name the image with --image") //nolint:staticcheck // the kind's name
	}
	return image, nil
}

// createTest makes the Job, and the Secret that its pod waits for. The Secret belongs to the Job, and goes with it even if
// this command is killed.
func (c *connection) createTest(ctx context.Context, test sync.Test, record *run.Record) (*batchv1.Job, error) {
	built, err := test.Job()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(built)
	if err != nil {
		return nil, fmt.Errorf("encoding the Job: %w", err)
	}
	job := &batchv1.Job{}
	if err := json.Unmarshal(text, job); err != nil {
		return nil, fmt.Errorf("encoding the Job: %w", err)
	}
	made, err := c.client.BatchV1().Jobs(c.namespace).Create(ctx, job, metav1.CreateOptions{})
	if apierrors.IsForbidden(err) {
		return nil, hint(fmt.Errorf("making the Job of the test: %w", err), "a test needs create and delete on jobs, create on secrets, get on deployments, list on pods and get on pods/log in namespace %s", c.namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("making the Job of the test: %w", err)
	}
	if record == nil {
		return made, nil
	}
	content, err := json.Marshal(record)
	if err != nil {
		return made, fmt.Errorf("encoding the record: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: made.Name, Namespace: c.namespace, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: made.Name, UID: made.UID},
		}},
		Immutable: new(true), Data: map[string][]byte{sync.RecordKey: content},
	}
	if _, err := c.client.CoreV1().Secrets(c.namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return made, hint(fmt.Errorf("making the Secret of the record: %w", err), "a test needs create on secrets in namespace %s", c.namespace)
	}
	return made, nil
}

// deleteTest takes the Job away, with its pod and Secret. What cannot be deleted goes by itself five minutes later.
func (c *connection) deleteTest(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = c.client.BatchV1().Jobs(c.namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
}

// ended waits until the pod of a Job has ended, and gives its name.
func (c *connection) ended(ctx context.Context, job string) (string, error) {
	waiting := "no pod was made"
	for {
		pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		if err != nil && ctx.Err() == nil {
			return "", fmt.Errorf("looking for the pod of the test: %w", err)
		}
		if err == nil {
			for _, pod := range pods.Items {
				if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
					return pod.Name, nil
				}
				waiting = waitsFor(pod)
			}
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return "", hint(fmt.Errorf("the test did not end: %s", waiting), "kubectl -n %s get events --field-selector involvedObject.kind=Pod has more; look at quotas, the image, and the Secrets that the Destination names", c.namespace)
		}
	}
}

// waitsFor says why a pod has not ended.
func waitsFor(pod corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if w := status.State.Waiting; w != nil {
			return fmt.Sprintf("its pod waits: %s %s", w.Reason, w.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status == corev1.ConditionFalse && condition.Type == corev1.PodScheduled {
			return fmt.Sprintf("its pod waits: %s %s", condition.Reason, condition.Message)
		}
	}
	return fmt.Sprintf("its pod is %s", pod.Status.Phase)
}

// said finds the rehearsal in what a pod wrote.
func (c *connection) said(ctx context.Context, pod string) ([]byte, error) {
	log, err := c.client.CoreV1().Pods(c.namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return nil, hint(fmt.Errorf("reading what the test said: %w", err), "you need get on pods/log in namespace %s", c.namespace)
	}
	answer := rehearsalIn(log)
	if answer == nil {
		return nil, hint(fmt.Errorf("the test said nothing that can be read: %s", clean(string(log))), "is --image a connector of this version of Kohort?")
	}
	return answer, nil
}

// rehearsalIn finds the line that is no log; nil when there is none.
func rehearsalIn(log []byte) []byte {
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, maxLog)
	for lines.Scan() {
		var said struct {
			Rehearsal json.RawMessage `json:"rehearsal"`
		}
		if json.Unmarshal(lines.Bytes(), &said) == nil && len(said.Rehearsal) > 0 {
			return said.Rehearsal
		}
	}
	return nil
}
