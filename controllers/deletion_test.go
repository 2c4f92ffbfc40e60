package controllers

import (
	"slices"
	"testing"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/internal/run"
)

func (s *scene) delete(name string, obj client.Object) {
	s.t.Helper()
	obj.SetName(name)
	obj.SetNamespace(s.namespace)
	s.Expect(k8s.Delete(s.ctx, obj)).To(gomega.Succeed())
}

func (s *scene) gone(name string, obj client.Object) {
	s.t.Helper()
	s.Eventually(func() bool { return apierrors.IsNotFound(k8s.Get(s.ctx, s.key(name), obj)) }).Should(gomega.BeTrue(), "%T %s is still there", obj, name)
}

// drainJob waits for the Job that takes the members out.
func (s *scene) drainJob() *batchv1.Job {
	s.t.Helper()
	job := s.syncJob()
	s.Expect(job.Annotations[naming.DrainAnnotation]).To(gomega.Equal("true"))
	s.Expect(job.Spec.Template.Spec.Containers[0].Env[0].Value).To(gomega.ContainSubstring(`"drain":true`))
	return job
}

// events are the reasons of the Events about an object.
func (s *scene) events(kind, name string) []string {
	s.t.Helper()
	list := &eventsv1.EventList{}
	s.Expect(k8s.List(s.ctx, list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	var reasons []string
	for _, e := range list.Items {
		if e.Regarding.Kind == kind && e.Regarding.Name == name {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// The members leave the destination before the Audience leaves the cluster.
func TestDeletionDrainsFirst(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.delete("vip", &v1alpha1.Audience{})
	job := s.drainJob()
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonDraining)
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonDraining)
	s.succeed(job, run.Report{Removed: 2})
	s.gone("vip-mailer", &v1alpha1.Sync{})
	s.gone("vip", &v1alpha1.Audience{})
	s.Expect(s.events("Sync", "vip-mailer")).NotTo(gomega.ContainElement(v1alpha1.ReasonMembersLeft))
}

// Retain lets the members stay, without a Job.
func TestDeletionRetains(t *testing.T) {
	s := newScene(t)
	s.delivered()
	audience := &v1alpha1.Audience{}
	s.change("vip", audience, func() { audience.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	s.delete("vip", &v1alpha1.Audience{})
	s.gone("vip", &v1alpha1.Audience{})
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.HaveLen(1), "no drain was started")
}

// An Audience that was never delivered leaves nothing behind, and goes at once.
func TestDeletionBeforeTheFirstRun(t *testing.T) {
	s := newScene(t)
	s.apply(platformShop, destinationMailer, audienceVIP)
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonPlatformNotReady)
	s.delete("vip", &v1alpha1.Audience{})
	s.gone("vip", &v1alpha1.Audience{})
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.BeEmpty())
}

// A destination that is taken out of the spec is drained too, while the Audience goes on.
func TestRemovedDestinationIsDrained(t *testing.T) {
	s := newScene(t)
	s.delivered()
	audience := &v1alpha1.Audience{}
	s.change("vip", audience, func() { audience.Spec.Destinations = nil })
	s.succeed(s.drainJob(), run.Report{Removed: 2})
	s.gone("vip-mailer", &v1alpha1.Sync{})
	s.evaluate("vip")
	s.ready(audience, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(audience.Status.Synced).To(gomega.Equal("0/0"))
}

// A deletion does not hang on a destination that will never come back; an Event says what was left behind.
func TestDeletionWithoutTheDestination(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.delete("mailer", &v1alpha1.Destination{})
	s.gone("mailer", &v1alpha1.Destination{})
	s.delete("vip", &v1alpha1.Audience{})
	s.gone("vip", &v1alpha1.Audience{})
	s.Eventually(func() []string { return s.events("Sync", "vip-mailer") }).Should(gomega.ContainElement(v1alpha1.ReasonMembersLeft))
}

// A drain that fails says so, and how to let the members stay.
func TestDrainFailsAndIsGivenUp(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.delete("vip", &v1alpha1.Audience{})
	s.fail(s.drainJob(), run.Report{Reason: v1alpha1.ReasonDestinationUnreachable, Message: "mail.test: no such host", Pending: 2}, false)
	audience := &v1alpha1.Audience{}
	s.Eventually(func(g gomega.Gomega) {
		message := s.ready(audience, "vip", metav1.ConditionFalse, v1alpha1.ReasonDestinationUnreachable)
		g.Expect(message).To(gomega.And(gomega.ContainSubstring("mail.test"), gomega.ContainSubstring("Retain")))
	}).Should(gomega.Succeed())
	s.change("vip", audience, func() { audience.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	s.gone("vip", audience)
}

// A person who has mended the destination need not wait for the next drain.
func TestDrainIsRequested(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.delete("vip", &v1alpha1.Audience{})
	s.fail(s.drainJob(), run.Report{Reason: v1alpha1.ReasonDestinationUnreachable, Message: "no such host"}, false)
	s.request("vip-mailer", &v1alpha1.Sync{}, "now")
	s.succeed(s.drainJob(), run.Report{Removed: 2})
	s.gone("vip", &v1alpha1.Audience{})
}

// The run under way is stopped before the drain starts: both write to the same destination.
func TestDeletionStopsTheRun(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	s.delete("vip", &v1alpha1.Audience{})
	s.Eventually(func(g gomega.Gomega) {
		g.Expect(k8s.Get(s.ctx, client.ObjectKeyFromObject(job), job)).To(gomega.Succeed())
		g.Expect(job.DeletionTimestamp).NotTo(gomega.BeNil())
	}).Should(gomega.Succeed())
	s.Expect(job.Finalizers).To(gomega.ContainElement(metav1.FinalizerDeleteDependents), "its pod has to be gone first")
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.HaveLen(1), "no drain beside a run")
	s.change(job.Name, job, func() { // what the garbage collector does when the pod is gone
		job.Finalizers = slices.DeleteFunc(job.Finalizers, func(f string) bool { return f == metav1.FinalizerDeleteDependents })
	})
	s.succeed(s.drainJob(), run.Report{})
	s.gone("vip", &v1alpha1.Audience{})
}

// A namespace that is being deleted takes everything with it: nothing can run in it any more.
func TestNamespaceIsDeleted(t *testing.T) {
	s := newScene(t)
	s.delivered()
	namespace := namespaceNamed(s.namespace)
	s.Expect(k8s.Delete(s.ctx, namespace)).To(gomega.Succeed())
	s.delete("vip", &v1alpha1.Audience{}) // as the namespace's controller does
	s.gone("vip", &v1alpha1.Audience{})
}
