package controllers

import (
	"testing"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/run"
)

const (
	platformShop = `
apiVersion: kohort.dev/v1alpha1
kind: Platform
metadata: {name: shop}
spec: {type: CDP, storage: {embedded: {size: 1Gi}}}`
	sourceWeb = `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: web}
spec: {platformRef: {name: shop}, http: {}}`
	sourceCRM = `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: crm}
spec:
  platformRef: {name: shop}
  mapping: 'root = this'
  files: {url: "https://files.test/crm.csv", format: CSV}`
	audienceVIP = `
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: vip}
spec:
  platformRef: {name: shop}
  criteria: [{name: buyers, event: {name: Order Completed}}]
  destinations: [{name: mailer, schedule: 24h}]`
	destinationMailer = `
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: mailer}
spec: {platformRef: {name: shop}, webhook: {url: "https://mail.test/members"}}`
	retentionYear = `
apiVersion: kohort.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: year}
spec: {platformRef: {name: shop}, select: {data: [Events]}, maxAge: 1y}`
)

// The main job: everything is applied at once, in no order, and all of it becomes Ready.
func TestStory(t *testing.T) {
	s := newScene(t)
	s.apply(audienceVIP, retentionYear, destinationMailer, sourceCRM, sourceWeb, platformShop)
	s.ready(&v1alpha1.Platform{}, "shop", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s.serve("shop")
	s.ready(&v1alpha1.Platform{}, "shop", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.available("web-collector")
	s.ready(&v1alpha1.Source{}, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)

	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 3, Published: 2, Rejected: 1, Rejections: []run.Rejection{{Reason: "NoIdentifier", Count: 1}}})
	s.ready(&v1alpha1.Source{}, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)

	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.BeEmpty(), "a run before the first evaluation would empty the destination")
	s.evaluate("vip")
	s.succeed(s.job(v1alpha1.SyncLabel, "vip-mailer"), run.Report{Added: 2, Members: 2, Revision: 1})
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	a := &v1alpha1.Audience{}
	s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(a.Status.Synced).To(gomega.Equal("1/1"))
	s.Expect(*a.Status.Size).To(gomega.BeEquivalentTo(2), "the engine's fields must survive the operator's writes")
	d := &v1alpha1.Destination{}
	s.ready(d, "mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(d.Status.Audiences).To(gomega.BeEquivalentTo(1))

	s.ready(&v1alpha1.RetentionPolicy{}, "year", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEnforcement)
	s.engine("RetentionPolicy", "year", map[string]any{"overdue": 0, "conditions": []any{verdict("Enforced", "True", "Enforced", "nothing is overdue", 1)}})
	s.ready(&v1alpha1.RetentionPolicy{}, "year", metav1.ConditionTrue, v1alpha1.ReasonReady)
}
