package podsecurity

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A pod that says nothing breaks nearly every promise; a check that finds nothing wrong with it checks nothing.
func TestBroken(t *testing.T) {
	if got := Broken(corev1.PodSpec{}, false); len(got) != 1 {
		t.Errorf("an empty pod: %q", got)
	}
	bare := corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{}, HostNetwork: true,
		Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{}, Env: []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{}}}}},
		Volumes: []corev1.Volume{
			{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}},
			{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	}
	if got := Broken(bare, false); len(got) != 15 {
		t.Errorf("%d promises are broken, want all 15: %q", len(got), got)
	}
}
