package platform

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/workload"
)

// Conditions tell how the store and the engine are doing.
func Conditions(p *v1alpha1.Platform, facts Facts) (store, engine metav1.Condition) {
	store = metav1.Condition{Type: v1alpha1.ConditionStoreAvailable, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonReady, Message: "the store answers and its writes are durable"}
	if facts.Store == nil || facts.Store.Status.ReadyReplicas < 1 {
		store = unavailable(store.Type, "store", facts.StorePods, "")
	}
	engine = metav1.Condition{Type: v1alpha1.ConditionEngineAvailable, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonReady, Message: "the engine runs"}
	switch {
	case p.Spec.Suspend:
		engine.Status, engine.Reason, engine.Message = metav1.ConditionFalse, v1alpha1.ReasonSuspended, "spec.suspend is true: the engine is stopped"
	case facts.Engine == nil || facts.Engine.Status.AvailableReplicas < 1:
		engine = unavailable(engine.Type, "engine", facts.EnginePods, replicaFailure(facts.Engine))
	}
	return store, engine
}

// Summary is Ready, from the conditions.
func Summary(p *v1alpha1.Platform, facts Facts, store, engine metav1.Condition) outcome.Outcome {
	for _, c := range []metav1.Condition{store, engine} {
		switch {
		case c.Status == metav1.ConditionTrue, c.Reason == v1alpha1.ReasonSuspended:
		case c.Reason == v1alpha1.ReasonProgressing:
			return outcome.Progress(c.Reason, c.Message)
		default:
			return outcome.Wait(c.Reason, c.Message)
		}
	}
	if p.Spec.Suspend {
		return outcome.Done(v1alpha1.ReasonSuspended, "the engine is stopped, events are kept in the stream; set spec.suspend to false to go on")
	}
	if trouble := workload.Degraded(facts.Engine, facts.EnginePods); trouble != "" {
		return outcome.Wait(v1alpha1.ReasonWorkloadUnavailable, "an engine runs, and another pod of it does not: "+trouble)
	}
	return outcome.Done(v1alpha1.ReasonReady, "store and engine run")
}

// unavailable names what keeps a workload from serving. Without any trouble it is only starting.
func unavailable(conditionType, part string, pods []corev1.Pod, failure string) metav1.Condition {
	c := metav1.Condition{Type: conditionType, Status: metav1.ConditionFalse}
	if trouble := cmp.Or(workload.Trouble(pods), failure); trouble != "" {
		c.Reason, c.Message = v1alpha1.ReasonWorkloadUnavailable, fmt.Sprintf("the %s does not run: %s", part, trouble)
		return c
	}
	c.Reason, c.Message = v1alpha1.ReasonProgressing, fmt.Sprintf("the %s is starting", part)
	return c
}

// replicaFailure is why a Deployment could make no pod, such as a quota.
func replicaFailure(d *appsv1.Deployment) string {
	if d == nil {
		return ""
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}
