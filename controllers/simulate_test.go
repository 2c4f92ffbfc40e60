package controllers

import (
	"encoding/json"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/internal/run"
)

// An API server without a kubelet, controllers and an engine: the functions here do what those would.

// apply applies manifests as kubectl would.
func (s *scene) apply(manifests ...string) {
	s.t.Helper()
	for _, text := range manifests {
		s.Expect(s.try(text)).To(gomega.Succeed(), text)
	}
}

// try applies one manifest.
func (s *scene) try(text string) error {
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		return err
	}
	obj.SetNamespace(s.namespace)
	return k8s.Apply(s.ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("kubectl"), client.ForceOwnership)
}

func (s *scene) get(name string, obj client.Object) {
	s.t.Helper()
	s.Expect(k8s.Get(s.ctx, s.key(name), obj)).To(gomega.Succeed())
}

func (s *scene) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: name}
}

// ready waits until Ready has a status and a reason, at the newest generation, and gives its message.
func (s *scene) ready(obj status.Object, name string, want metav1.ConditionStatus, reason string) string {
	s.t.Helper()
	message := ""
	s.Eventually(func(g gomega.Gomega) {
		g.Expect(k8s.Get(s.ctx, s.key(name), obj)).To(gomega.Succeed())
		c := meta.FindStatusCondition(obj.Common().Conditions, v1alpha1.ConditionReady)
		g.Expect(c).NotTo(gomega.BeNil(), "%T %s has no condition Ready", obj, name)
		g.Expect([]any{c.Status, c.Reason, c.ObservedGeneration}).To(gomega.Equal([]any{want, reason, obj.GetGeneration()}), "%T %s says: %s", obj, name, c.Message)
		message = c.Message
	}).Should(gomega.Succeed())
	return message
}

// change edits an object until nobody else has in the meantime.
func (s *scene) change(name string, obj client.Object, edit func()) {
	s.t.Helper()
	s.Eventually(func() error {
		if err := k8s.Get(s.ctx, s.key(name), obj); err != nil {
			return err
		}
		edit()
		return k8s.Update(s.ctx, obj)
	}).Should(gomega.Succeed())
}

// request asks for a run now.
func (s *scene) request(name string, obj client.Object, value string) {
	s.t.Helper()
	s.change(name, obj, func() {
		annotations := obj.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[v1alpha1.RequestedAtAnnotation] = value
		obj.SetAnnotations(annotations)
	})
}

// serve does what the workload controllers and the kubelet do for a Platform: its pods become ready.
func (s *scene) serve(platform string) {
	s.t.Helper()
	s.Eventually(func() error {
		store := &appsv1.StatefulSet{}
		if err := k8s.Get(s.ctx, s.key(platform+"-store"), store); err != nil {
			return err
		}
		store.Status.Replicas, store.Status.ReadyReplicas, store.Status.ObservedGeneration = 1, 1, store.Generation
		return k8s.Status().Update(s.ctx, store)
	}).Should(gomega.Succeed())
	s.available(platform + "-engine")
}

// available makes the pods of a Deployment ready.
func (s *scene) available(name string) {
	s.t.Helper()
	s.Eventually(func() error {
		d := &appsv1.Deployment{}
		if err := k8s.Get(s.ctx, s.key(name), d); err != nil {
			return err
		}
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n, ObservedGeneration: d.Generation}
		return k8s.Status().Update(s.ctx, d)
	}).Should(gomega.Succeed())
}

// engine writes status fields as the engine does.
func (s *scene) engine(kind, name string, fields map[string]any) {
	s.t.Helper()
	obj := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	obj.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	obj.SetNamespace(s.namespace)
	obj.SetName(name)
	s.Expect(k8s.Status().Apply(s.ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("kohort-engine"), client.ForceOwnership)).To(gomega.Succeed())
}

// evaluate does what the engine does for an Audience at its newest generation.
func (s *scene) evaluate(name string) {
	s.t.Helper()
	a := &v1alpha1.Audience{}
	s.get(name, a)
	s.engine("Audience", name, map[string]any{
		"size": 2, "revision": a.Generation, "evaluatedGeneration": a.Generation, "evaluated": now(),
		"conditions": []any{verdict("Evaluated", "True", "Evaluated", "2 members", a.Generation)},
	})
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

func verdict(name, value, reason, message string, generation int64) map[string]any {
	return map[string]any{"type": name, "status": value, "reason": reason, "message": message, "observedGeneration": generation, "lastTransitionTime": now()}
}

// jobs are the Jobs of an owner, by its label, oldest first.
func (s *scene) jobs(label, owner string) []batchv1.Job {
	s.t.Helper()
	list := &batchv1.JobList{}
	s.Expect(k8s.List(s.ctx, list, client.InNamespace(s.namespace), client.MatchingLabels{label: owner})).To(gomega.Succeed())
	return list.Items
}

// job waits for the one Job of an owner that has not ended.
func (s *scene) job(label, owner string) *batchv1.Job {
	s.t.Helper()
	var found *batchv1.Job
	s.Eventually(func(g gomega.Gomega) {
		var open []batchv1.Job
		for _, j := range s.jobs(label, owner) {
			if len(j.Status.Conditions) == 0 && j.DeletionTimestamp == nil {
				open = append(open, j)
			}
		}
		g.Expect(open).To(gomega.HaveLen(1), "Jobs of %s that run", owner)
		found = &open[0]
	}).Should(gomega.Succeed())
	return found
}

// pod makes the pod of a Job's try, as the Job controller and the kubelet would, in a state.
func (s *scene) pod(job *batchv1.Job, name string, state corev1.ContainerState) {
	s.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: s.namespace, Labels: job.Spec.Template.Labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
	}, Spec: *job.Spec.Template.Spec.DeepCopy()}
	s.Expect(k8s.Create(s.ctx, pod)).To(gomega.Succeed())
	pod.Status.Phase = corev1.PodPending
	if state.Terminated != nil {
		pod.Status.Phase = corev1.PodSucceeded
		if state.Terminated.ExitCode != 0 {
			pod.Status.Phase = corev1.PodFailed
		}
	}
	container := job.Spec.Template.Spec.Containers[0]
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container.Name, Image: container.Image, State: state}}
	s.Expect(k8s.Status().Update(s.ctx, pod)).To(gomega.Succeed())
}

func terminated(code int32, report run.Report) corev1.ContainerState {
	text, err := json.Marshal(report)
	if err != nil {
		panic(err)
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", Message: string(text)}}
}

// succeed ends a Job well, with a report.
func (s *scene) succeed(job *batchv1.Job, report run.Report) {
	s.t.Helper()
	report.Result = v1alpha1.RunSucceeded
	s.pod(job, job.Name+"-x", terminated(0, report))
	s.end(job, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
}

// fail ends a Job badly, with a report; fatal as one that says that trying again cannot help.
func (s *scene) fail(job *batchv1.Job, report run.Report, fatal bool) {
	s.t.Helper()
	report.Result = v1alpha1.RunFailed
	code, reason := int32(run.ExitRetry), batchv1.JobReasonBackoffLimitExceeded
	if fatal {
		code, reason = run.ExitFatal, batchv1.JobReasonPodFailurePolicy
	}
	s.pod(job, job.Name+"-x", terminated(code, report))
	s.end(job, batchv1.JobFailureTarget, batchv1.JobFailed, reason)
}

// end writes a Job's status as the Job controller does, in its two steps.
func (s *scene) end(job *batchv1.Job, first, last batchv1.JobConditionType, reason string) {
	s.t.Helper()
	at := metav1.Now()
	s.Eventually(func() error {
		if err := k8s.Get(s.ctx, client.ObjectKeyFromObject(job), job); err != nil {
			return err
		}
		job.Status.StartTime = &metav1.Time{Time: job.CreationTimestamp.Time}
		if last == batchv1.JobComplete {
			job.Status.CompletionTime, job.Status.Succeeded = &at, 1
		} else {
			job.Status.Failed = 1
		}
		job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
		job.Status.Conditions = nil
		for _, name := range []batchv1.JobConditionType{first, last} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
				Type: name, Status: corev1.ConditionTrue, Reason: reason, Message: "said by the test", LastProbeTime: at, LastTransitionTime: at})
		}
		return k8s.Status().Update(s.ctx, job)
	}).Should(gomega.Succeed())
}
