package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/run"
)

// settled waits until the operator has asked the API server for nothing for a second, and gives all that it has asked.
func (s *scene) settled() []string {
	s.t.Helper()
	var before []string
	s.Eventually(func() bool {
		before = calls.of(s.namespace)
		time.Sleep(time.Second)
		return len(calls.of(s.namespace)) == len(before)
	}).Should(gomega.BeTrue(), "the operator does not come to rest")
	return before
}

// everyPass makes a pass over every object of the namespace, as a resync would.
func (s *scene) everyPass() int {
	s.t.Helper()
	n := 0
	for kind, r := range current {
		list, err := newScheme().New(v1alpha1.GroupVersion.WithKind(kind + "List"))
		s.Expect(err).NotTo(gomega.HaveOccurred())
		s.Expect(k8s.List(s.ctx, list.(client.ObjectList), client.InNamespace(s.namespace))).To(gomega.Succeed())
		s.Expect(meta.EachListItem(list, func(item runtimeObject) error {
			n++
			_, err := r.Reconcile(context.WithoutCancel(s.ctx), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(item.(client.Object))})
			return err
		})).To(gomega.Succeed())
	}
	return n
}

// Once everything is as it should be, passes cost the API server nothing: no write, and no read either.
func TestSteadyStateCostsNothing(t *testing.T) {
	s := newScene(t)
	secret := s.secret("token", map[string]string{"token": "t"})
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: other}
spec: {platformRef: {name: shop}, webhook: {url: "https://other.test", tokenSecretRef: {name: token, key: token}}}`)
	s.apply(sourceWeb, sourceCRM, retentionYear)
	s.delivered()
	s.available("web-collector")
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 1, Published: 1})
	s.ready(&v1alpha1.Source{}, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.ready(&v1alpha1.Source{}, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)
	before := s.settled()
	for range 3 {
		if n := s.everyPass(); n != 8 {
			t.Fatalf("%d objects had a pass, of 1 Platform, 2 Sources, 1 Audience, 2 Destinations, 1 Sync, 1 RetentionPolicy", n)
		}
	}
	s.Expect(s.settled()[len(before):]).To(gomega.BeEmpty(), "requests of passes that change nothing")

	// The counter counts: a Secret that moves is looked at once more, and no more than once.
	secret.StringData = map[string]string{"token": "rotated"}
	s.Expect(k8s.Update(s.ctx, secret)).To(gomega.Succeed())
	s.Eventually(func() []string { return calls.of(s.namespace)[len(before):] }).Should(gomega.Equal([]string{"GET secrets/token"}))
	s.everyPass()
	s.Expect(s.settled()[len(before):]).To(gomega.HaveLen(1))
}

// Each child is made by one request, and a status is written a few times on the way, not with every pass.
func TestConvergenceCostsLittle(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.settled()
	const platformChildren = 11
	patches := map[string]int{}
	for _, call := range calls.of(s.namespace) {
		patches[call]++
	}
	children := 0
	for call, n := range patches {
		switch {
		case call == "PATCH platforms/shop/status":
			if n > 6 {
				t.Errorf("the status of the Platform was written %d times", n)
			}
		case call[:6] == "PATCH ":
			children++
			if n > 2 {
				t.Errorf("%d requests: %s", n, call)
			}
		}
	}
	if children != platformChildren {
		t.Errorf("%d children were applied, want %d: %v", children, platformChildren, patches)
	}
}

// An operator that starts over finds everything as it left it: it may ask, and changes nothing.
func TestRestartChangesNothing(t *testing.T) {
	s := newScene(t)
	s.apply(sourceWeb, sourceCRM, retentionYear)
	s.delivered()
	s.available("web-collector")
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 1, Published: 1})
	s.ready(&v1alpha1.Source{}, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.ready(&v1alpha1.Source{}, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.settled()
	before := s.versions()
	stop, err := startOperator([]string{s.namespace})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	defer stop()
	s.settled()
	s.everyPass()
	s.Expect(s.versions()).To(gomega.Equal(before))
}

// versions are the resourceVersions of all that the operator writes in the namespace.
func (s *scene) versions() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	lists := []client.ObjectList{
		&v1alpha1.PlatformList{}, &v1alpha1.SourceList{}, &v1alpha1.AudienceList{},
		&v1alpha1.DestinationList{}, &v1alpha1.SyncList{}, &v1alpha1.RetentionPolicyList{},
	}
	lists = append(lists, childLists()...)
	for _, list := range lists {
		s.Expect(k8s.List(s.ctx, list, client.InNamespace(s.namespace))).To(gomega.Succeed())
		s.Expect(meta.EachListItem(list, func(item runtimeObject) error {
			o := item.(client.Object)
			out[fmt.Sprintf("%T %s", o, o.GetName())] = o.GetResourceVersion()
			return nil
		})).To(gomega.Succeed())
	}
	return out
}
