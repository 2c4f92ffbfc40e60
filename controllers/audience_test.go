package controllers

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/run"
)

const audienceOfAnother = `
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: %s}
spec: {platformRef: {name: shop}, criteria: [{name: theirs, audience: {name: %s}}]}`

// What is missing is waited for, named, and seen when it comes: nobody has to touch the Audience again.
func TestAudienceWaitsForWhatIsMissing(t *testing.T) {
	s := newScene(t)
	s.apply(audienceVIP)
	a := &v1alpha1.Audience{}
	message := s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonPlatformNotFound)
	s.Expect(message).To(gomega.ContainSubstring("shop"))
	s.serving()
	message = s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonDestinationNotFound)
	s.Expect(message).To(gomega.HavePrefix("spec.destinations[mailer]: there is no Destination mailer"))
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonDestinationNotFound)
	s.apply(destinationMailer)
	s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
}

// A destination's Secret is missing: the Destination, the Sync and the Audience say so, each from its own point of view.
func TestAudienceOfADestinationWithoutItsSecret(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: mailer}
spec: {platformRef: {name: shop}, webhook: {url: "https://mail.test", tokenSecretRef: {name: mail, key: token}}}`, audienceVIP)
	s.Eventually(func() error { return k8s.Get(s.ctx, s.key("vip-mailer"), &v1alpha1.Sync{}) }).Should(gomega.Succeed())
	s.evaluate("vip")
	message := s.ready(&v1alpha1.Destination{}, "mailer", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(message).To(gomega.Equal("spec.webhook.tokenSecretRef: there is no Secret mail; create it with the key token"))
	message = s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(message).To(gomega.ContainSubstring("Destination mailer"))
	message = s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(message).To(gomega.ContainSubstring("create it with the key token"))
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.BeEmpty(), "a pod without its Secret would wait for ever")
	s.secret("mail", map[string]string{"token": "t"})
	job := s.syncJob()
	s.Expect(job.Spec.Template.Spec.Containers[0].Args).To(gomega.ContainElements("--token-file", "/etc/kohort/token/token"))
	s.succeed(job, run.Report{Members: 1})
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

func TestAudienceOfAudiences(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sprintf(audienceOfAnother, "outer", "inner"))
	outer, inner := &v1alpha1.Audience{}, &v1alpha1.Audience{}
	message := s.ready(outer, "outer", metav1.ConditionFalse, v1alpha1.ReasonAudienceNotFound)
	s.Expect(message).To(gomega.ContainSubstring(`"inner"`))
	s.Expect(meta.IsStatusConditionTrue(outer.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeFalse(), "it may still come")
	s.apply(sprintf(audienceOfAnother, "inner", "outer"))
	message = s.ready(outer, "outer", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.ContainSubstring("circle"))
	s.ready(inner, "inner", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(meta.IsStatusConditionTrue(inner.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
	s.change("inner", inner, func() {
		inner.Spec.Criteria = []v1alpha1.Criterion{{Name: "a", Event: &v1alpha1.EventCriterion{Name: "E"}}}
	})
	s.ready(outer, "outer", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.delete("inner", inner)
	s.ready(outer, "outer", metav1.ConditionFalse, v1alpha1.ReasonAudienceNotFound)
}

// The engine's failure is the Audience's, and is over when the engine says so.
func TestAudienceEvaluationFails(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(destinationMailer, audienceVIP)
	a := &v1alpha1.Audience{}
	s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.engine("Audience", "vip", map[string]any{"conditions": []any{verdict("Evaluated", "False", "EvaluationFailed", "the warehouse is out of memory", 1)}})
	message := s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonEvaluationFailed)
	s.Expect(message).To(gomega.Equal("the warehouse is out of memory"))
	s.evaluate("vip")
	s.succeed(s.syncJob(), run.Report{Members: 1})
	s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A change that the guard keeps back waits for a person: the Audience is stalled and tells how to approve, the Sync goes on
// with the members of before, and nothing is left of it when it is approved.
func TestAudienceOfAChangeThatIsTooLarge(t *testing.T) {
	s := newScene(t)
	s.delivered()
	a := &v1alpha1.Audience{}
	s.change("vip", a, func() { a.Spec.Guard = &v1alpha1.Guard{MaxChangePercent: 20} })
	s.evaluate("vip")
	s.succeed(s.syncJob(), run.Report{Members: 2})
	s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.engine("Audience", "vip", map[string]any{"evaluatedGeneration": a.Generation, "held": map[string]any{"token": "3-1f", "entering": 200, "leaving": 1, "since": now()},
		"conditions": []any{verdict("Evaluated", "False", "ChangeTooLarge", "200 would enter; kohort.dev/approve=3-1f", a.Generation)}})
	message := s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonChangeTooLarge)
	s.Expect(message).To(gomega.Equal("200 would enter; kohort.dev/approve=3-1f"))
	s.Expect(meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue(), "only a person can go on")
	s.Expect(a.Status.Held.Token).To(gomega.Equal("3-1f"), "the engine's fields stay")
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Eventually(func() []string { return s.events("Audience", "vip") }).Should(gomega.ContainElement(gomega.ContainSubstring("ChangeTooLarge")))
	s.evaluate("vip")
	s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// Members that were brought back are what was asked for, so the Audience is Ready, but says so; they are delivered at once.
func TestAudienceThatIsRolledBack(t *testing.T) {
	s := newScene(t)
	s.delivered()
	a := &v1alpha1.Audience{}
	s.engine("Audience", "vip", map[string]any{"evaluatedGeneration": 1, "revision": 7,
		"conditions": []any{verdict("Evaluated", "False", "RevisionNotFound", "there is no revision 9", 1)}})
	s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonRevisionNotFound)
	s.Expect(meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue(), "only a person knows which is meant")
	s.engine("Audience", "vip", map[string]any{"evaluatedGeneration": 1, "revision": 8, "rolledBackTo": 4,
		"conditions": []any{verdict("Evaluated", "False", "RolledBack", "the members are those of revision 4", 1)}})
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s.succeed(s.syncJob(), run.Report{Members: 1, Removed: 1})
	message := s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonRolledBack)
	s.Expect(message).To(gomega.HavePrefix("the members are those of revision 4"))
	again := verdict("Evaluated", "True", "Evaluated", "2 members", 1)
	again["lastTransitionTime"] = time.Now().Add(time.Minute).UTC().Format(time.RFC3339) // this test may take less than a second
	s.engine("Audience", "vip", map[string]any{"evaluatedGeneration": 1, "revision": 9, "conditions": []any{again}})
	s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s.succeed(s.syncJob(), run.Report{Members: 2, Added: 1})
	s.ready(a, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A schedule that cannot be read names its field, and leaves the Syncs as they are.
func TestAudienceOfABadSchedule(t *testing.T) {
	s := newScene(t)
	s.delivered()
	a := &v1alpha1.Audience{}
	s.change("vip", a, func() { a.Spec.Destinations[0].Schedule = "often" })
	message := s.ready(a, "vip", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.HavePrefix("spec.destinations[mailer].schedule:"))
	sync := &v1alpha1.Sync{}
	s.get("vip-mailer", sync)
	s.Expect(sync.Spec.Schedule).To(gomega.BeEquivalentTo("24h"))
}

func TestRetentionPolicyRepeatsTheEngine(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(retentionYear)
	r := &v1alpha1.RetentionPolicy{}
	s.ready(r, "year", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEnforcement)
	s.engine("RetentionPolicy", "year", map[string]any{"overdue": 7, "conditions": []any{verdict("Enforced", "False", "Overdue", "7 rows are overdue", 1)}})
	message := s.ready(r, "year", metav1.ConditionFalse, "Overdue")
	s.Expect(message).To(gomega.Equal("7 rows are overdue"))
	s.change("year", r, func() { r.Spec.Schedule = "often" })
	message = s.ready(r, "year", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.HavePrefix("spec.schedule:"))
	s.change("year", r, func() { r.Spec.Schedule, r.Spec.Suspend = "1h", true })
	s.ready(r, "year", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.Expect(*r.Status.Overdue).To(gomega.BeEquivalentTo(7), "the engine's fields stay")
}

// What the API server refuses is told in its own words, and tried again until it does not.
func TestRefusalsAreToldAndTriedAgain(t *testing.T) {
	s := newScene(t)
	s.serving()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "no-jobs", Namespace: s.namespace}}
	quota.Spec.Hard = corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}
	s.Expect(k8s.Create(s.ctx, quota)).To(gomega.Succeed())
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard} // as its controller does
	s.Expect(k8s.Status().Update(s.ctx, quota)).To(gomega.Succeed())
	s.apply(sourceCRM)
	crm := &v1alpha1.Source{}
	message := s.ready(crm, "crm", metav1.ConditionUnknown, v1alpha1.ReasonReconcileError)
	s.Expect(message).To(gomega.ContainSubstring("exceeded quota: no-jobs"))
	s.checkAll()
	s.Expect(k8s.Delete(s.ctx, quota)).To(gomega.Succeed())
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 1, Published: 1})
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
}
