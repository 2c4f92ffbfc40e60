package controllers

import (
	"encoding/json"
	"testing"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/sync"
)

// The command line makes this Job as an object, and no operator corrects it: the API server must take it as it stands.
func TestTheJobOfATestIsTaken(t *testing.T) {
	s := newScene(t)
	g := gomega.NewWithT(t)
	built, err := sync.Test{
		Name: sync.TestName("mailer", "x7k2p"), HasRecord: true, Image: "connector:1",
		Sync: &v1alpha1.Sync{ObjectMeta: metav1.ObjectMeta{Name: "kohort-test", Namespace: s.namespace}},
		Destination: &v1alpha1.Destination{ObjectMeta: metav1.ObjectMeta{Name: "mailer", Namespace: s.namespace}, Spec: v1alpha1.DestinationSpec{
			PlatformRef: v1alpha1.LocalReference{Name: "shop"}, Webhook: &v1alpha1.WebhookDestination{URL: "https://mail.test"},
		}},
	}.Job()
	g.Expect(err).NotTo(gomega.HaveOccurred())
	text, err := json.Marshal(built)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	job := &batchv1.Job{}
	g.Expect(json.Unmarshal(text, job)).To(gomega.Succeed())
	g.Expect(k8s.Create(s.ctx, job, client.DryRunAll, client.FieldValidation("Strict"))).To(gomega.Succeed())
}
