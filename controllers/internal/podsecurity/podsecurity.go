// Package podsecurity checks pods that builders build against the Pod Security Standard "restricted", and against what
// Kohort promises beyond it: a read-only root file system, and no Kubernetes token unless it is needed.
package podsecurity

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// Check fails t for each promise that a template breaks. token says whether the pod may have a Kubernetes token.
func Check(t *testing.T, template *corev1ac.PodTemplateSpecApplyConfiguration, token bool) {
	t.Helper()
	text, err := json.Marshal(template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	pod := corev1.PodSpec{}
	if err := json.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	for _, broken := range Broken(pod, token) {
		t.Error(broken)
	}
}

// Broken are the promises that a pod breaks.
func Broken(pod corev1.PodSpec, token bool) []string {
	var out []string
	need := func(kept bool, promise string) {
		if !kept {
			out = append(out, promise)
		}
	}
	own := pod.SecurityContext
	if own == nil {
		return []string{"the pod has no security context"}
	}
	need(own.RunAsNonRoot != nil && *own.RunAsNonRoot, "runAsNonRoot")
	need(own.RunAsUser != nil && *own.RunAsUser == 65532, "runAsUser 65532")
	need(own.SeccompProfile != nil && own.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "seccomp RuntimeDefault")
	need(!pod.HostNetwork && !pod.HostPID && !pod.HostIPC, "no namespace of the host")
	need(pod.AutomountServiceAccountToken != nil && *pod.AutomountServiceAccountToken == token, "a token exactly when it is needed")
	need(pod.TerminationGracePeriodSeconds != nil, "a grace period")
	for _, v := range pod.Volumes {
		need(v.HostPath == nil, "no path of the host: "+v.Name)
		need(v.Secret == nil || v.Secret.DefaultMode != nil && *v.Secret.DefaultMode == 0o440, "credentials that only the group reads: "+v.Name)
		need(v.EmptyDir == nil || v.EmptyDir.SizeLimit != nil, "a bound on what may be written: "+v.Name)
	}
	for _, c := range pod.Containers {
		context := c.SecurityContext
		if context == nil {
			out = append(out, c.Name+" has no security context")
			continue
		}
		need(context.AllowPrivilegeEscalation != nil && !*context.AllowPrivilegeEscalation, c.Name+": no privilege escalation")
		need(context.ReadOnlyRootFilesystem != nil && *context.ReadOnlyRootFilesystem, c.Name+": a read-only root file system")
		need(context.Capabilities != nil && slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(context.Capabilities.Add) == 0, c.Name+": no capabilities")
		need(!c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero() && !c.Resources.Limits.Memory().IsZero(), c.Name+": resources")
		need(c.ImagePullPolicy == corev1.PullIfNotPresent, c.Name+": pulls only what is not there")
		for _, e := range c.Env {
			need(e.ValueFrom == nil, c.Name+": no credential in the environment: "+e.Name)
		}
	}
	return out
}
