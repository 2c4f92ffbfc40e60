package workload

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// starting are the reasons of containers that are on their way.
var starting = []string{"", "ContainerCreating", "PodInitializing"}

// pulling are the reasons that the kubelet alternates between while it cannot get an image.
var pulling = []string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"}

// Trouble says what keeps pods from running; empty when nothing does, or when they are only starting. The text has no
// names of pods and no counters in it, so that it stays the same while the trouble does.
func Trouble(pods []corev1.Pod) string {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if text := podTrouble(pod); text != "" {
			return text
		}
	}
	return ""
}

// Degraded says what keeps some pods of a Deployment that serves from running, such as an image of a new version that
// cannot be pulled while the old one goes on; empty when all run or are only starting.
func Degraded(d *appsv1.Deployment, pods []corev1.Pod) string {
	if d == nil || d.Status.UnavailableReplicas == 0 {
		return ""
	}
	return Trouble(pods)
}

func podTrouble(pod corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return "no node can take the pod: " + c.Message
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if text := containerTrouble(c); text != "" {
			return text
		}
	}
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
		return fmt.Sprintf("the pod failed: %s: %s", pod.Status.Reason, pod.Status.Message)
	}
	return ""
}

func containerTrouble(c corev1.ContainerStatus) string {
	if w := c.State.Waiting; w != nil && !slices.Contains(starting, w.Reason) {
		if slices.Contains(pulling, w.Reason) {
			return fmt.Sprintf("container %s: ImagePullBackOff: the image %s cannot be pulled", c.Name, c.Image)
		}
		if w.Reason != "CrashLoopBackOff" {
			return fmt.Sprintf("container %s: %s: %s", c.Name, w.Reason, w.Message)
		}
	}
	ended := cmp.Or(c.State.Terminated, c.LastTerminationState.Terminated)
	if ended == nil || c.Ready || ended.ExitCode == 0 {
		return ""
	}
	text := fmt.Sprintf("container %s: CrashLoopBackOff: it ends with exit code %d (%s)", c.Name, ended.ExitCode, cmp.Or(ended.Reason, "Error"))
	return text + ": " + cmp.Or(ended.Message, "its log tells why")
}
