package workload

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTrouble(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "c", Image: "i:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	ended := func(code int32) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error"}
	}
	back := waiting("CrashLoopBackOff", "back-off 40s restarting failed container=c pod=x-5d4f_team(0b3e)")
	back.LastTerminationState.Terminated = ended(1)
	again := corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	again.LastTerminationState.Terminated = ended(1)
	well := again
	well.Ready = true
	crash := "container c: CrashLoopBackOff: it ends with exit code 1 (Error): its log tells why"
	for _, c := range []struct {
		why    string
		status corev1.PodStatus
		want   string
	}{
		{"on its way", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}}, ""},
		{"not scheduled yet, and nobody has said why", corev1.PodStatus{}, ""},
		{"the image, the first time", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ErrImagePull", "rpc error")}}, "container c: ImagePullBackOff: the image i:1 cannot be pulled"},
		{"the image, in between: the same words", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ImagePullBackOff", "Back-off")}}, "container c: ImagePullBackOff: the image i:1 cannot be pulled"},
		{"a crash, waiting: no name of the pod and no seconds", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{back}}, crash},
		{"a crash, running again: the same words", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{again}}, crash},
		{"a crash that is over", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{well}}, ""},
		{"a Secret is missing", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("CreateContainerConfigError", `secret "x" not found`)}}, `container c: CreateContainerConfigError: secret "x" not found`},
		{"evicted", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "the node was low on memory"}, "the pod failed: Evicted: the node was low on memory"},
		{"no node", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available"}}}, "no node can take the pod: 0/1 nodes are available"},
	} {
		t.Run(c.why, func(t *testing.T) {
			if got := Trouble([]corev1.Pod{{Status: c.status}}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	going := corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{back}}}
	going.DeletionTimestamp = &metav1.Time{}
	if got := Trouble([]corev1.Pod{going}); got != "" {
		t.Errorf("a pod that is going has trouble: %q", got)
	}
}
