//go:build e2e

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/world"
)

// podsAreRestricted looks at every pod of the shop and of the operator, those of finished Jobs too.
func podsAreRestricted(t *testing.T, w world.World, _ *population.Population) {
	for _, namespace := range []string{w.Place.Namespace, "kohort-system"} {
		k := w.Kubectl.In(namespace)
		var ns corev1.Namespace
		must(t, k.Get(t.Context(), "namespace", namespace, &ns))
		if level := ns.Labels["pod-security.kubernetes.io/enforce"]; level != "restricted" {
			t.Errorf("namespace %s enforces %q", namespace, level)
		}
		var pods corev1.PodList
		must(t, k.List(t.Context(), "pods", "", &pods))
		if len(pods.Items) == 0 {
			t.Errorf("namespace %s has no pods to look at", namespace)
		}
		for _, pod := range pods.Items {
			isRestricted(t, pod)
			hasTokenOnlyIfNeeded(t, pod)
		}
	}
	// That the namespace refuses what the pods are not is shown by trying.
	_, err := w.Kubectl.Run(t.Context(), "run", "root", "--image=kohort.dev/none", "--dry-run=server")
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a pod without any restriction was not refused: %v", err)
	}
}

func isRestricted(t *testing.T, pod corev1.Pod) {
	t.Helper()
	outer := pod.Spec.SecurityContext
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		inner := container.SecurityContext
		if inner == nil || inner.ReadOnlyRootFilesystem == nil || !*inner.ReadOnlyRootFilesystem {
			t.Errorf("pod %s/%s, container %s: the root file system can be written", pod.Namespace, pod.Name, container.Name)
		}
		user := outer.RunAsUser
		if inner != nil && inner.RunAsUser != nil {
			user = inner.RunAsUser
		}
		if user == nil || *user == 0 {
			t.Errorf("pod %s/%s, container %s: runs as user %v", pod.Namespace, pod.Name, container.Name, user)
		}
	}
}

// hasTokenOnlyIfNeeded finds tokens where they are: in projected volumes. The engine reads Kohort's kinds, the operator
// everything that it makes; nobody else talks to the API server.
func hasTokenOnlyIfNeeded(t *testing.T, pod corev1.Pod) {
	t.Helper()
	needs := pod.Labels[v1alpha1.ComponentLabel] == "engine" || pod.Labels["app.kubernetes.io/component"] == "operator"
	has := false
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			has = has || source.ServiceAccountToken != nil
		}
	}
	if has != needs {
		t.Errorf("pod %s/%s: holds a Kubernetes token: %t, needs one: %t", pod.Namespace, pod.Name, has, needs)
	}
}
