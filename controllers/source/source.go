// Package source knows what a Source consists of and how it is doing: a collector for http, a listener for queues, runs for files and sql. It
// is pure: facts in, objects and conditions out.
package source

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/schedule"
)

// Facts are what was found in the cluster.
type Facts struct {
	Platform facts.Platform
	Secret   *facts.Secret      // that the spec names: the first that is missing, if one is; nil when it names none
	Server   *appsv1.Deployment // the collector or listener; nil before it is made
	Pods     []corev1.Pod       // of it
}

// Serves says that a Deployment runs for a Source all the time, and gives its name and component.
func Serves(s *v1alpha1.Source) (name, component string, ok bool) {
	switch {
	case s.Spec.HTTP != nil:
		return naming.Collector(s.Name), naming.ComponentCollector, true
	case s.Listens():
		return naming.Listener(s.Name), naming.ComponentListener, true
	}
	return "", "", false
}

// Schedule reads spec.schedule; nil without one.
func Schedule(s *v1alpha1.Source) (*schedule.Schedule, error) {
	if s.Spec.Schedule == "" {
		return nil, nil
	}
	parsed, err := schedule.Parse(string(s.Spec.Schedule), s.Spec.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("spec.schedule: %w", err)
	}
	return &parsed, nil
}

// Endpoint is where requests are sent to, inside the cluster; empty for a Source that is neither http nor webhook.
func Endpoint(s *v1alpha1.Source) string {
	var name string
	switch {
	case s.Spec.HTTP != nil:
		name = naming.Collector(s.Name)
	case s.Spec.Webhook != nil:
		name = naming.Listener(s.Name)
	default:
		return ""
	}
	return fmt.Sprintf("http://%s.%s.svc", name, s.Namespace)
}
