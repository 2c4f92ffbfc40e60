package controllers

import (
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/run"
)

// serving makes a Platform whose store and engine run.
func (s *scene) serving() {
	s.t.Helper()
	s.apply(platformShop)
	s.serve("shop")
	s.ready(&v1alpha1.Platform{}, "shop", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

func (s *scene) secret(name string, data map[string]string) *corev1.Secret {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, StringData: data}
	s.Expect(k8s.Create(s.ctx, secret)).To(gomega.Succeed())
	return secret
}

// The number of collectors is the autoscaler's: the operator neither sets it nor sets it back.
func TestCollectorUnderAnAutoscaler(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceWeb)
	s.available("web-collector")
	s.ready(&v1alpha1.Source{}, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)
	scaler := &autoscalingv2.HorizontalPodAutoscaler{}
	s.get("web-collector", scaler)
	s.Expect([]int32{*scaler.Spec.MinReplicas, scaler.Spec.MaxReplicas, *scaler.Spec.Metrics[0].Resource.Target.AverageUtilization}).To(gomega.Equal([]int32{1, 3, 70}))
	collector := &appsv1.Deployment{}
	s.change("web-collector", collector, func() { collector.Spec.Replicas = ptr(int32(3)) }) // as the autoscaler does
	s.request("web", &v1alpha1.Source{}, "now")
	s.Eventually(func() string {
		web := &v1alpha1.Source{}
		s.get("web", web)
		return web.Status.LastHandledRequest
	}).Should(gomega.Equal("now"))
	s.get("web-collector", collector)
	s.Expect(*collector.Spec.Replicas).To(gomega.BeEquivalentTo(3))
	s.get("web-collector", &policyv1.PodDisruptionBudget{})
}

// A fixed number of collectors has no autoscaler, and a suspended Source no collectors.
func TestCollectorReplicas(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceWeb)
	s.available("web-collector")
	web, collector := &v1alpha1.Source{}, &appsv1.Deployment{}
	s.change("web", web, func() { web.Spec.HTTP.Replicas = ptr(int32(2)) })
	s.gone("web-collector", &autoscalingv2.HorizontalPodAutoscaler{})
	replicas := func() int32 { s.get("web-collector", collector); return *collector.Spec.Replicas }
	s.Eventually(replicas).Should(gomega.BeEquivalentTo(2))
	s.change("web", web, func() { web.Spec.Suspend = true })
	s.Eventually(replicas).Should(gomega.BeEquivalentTo(0))
	s.ready(web, "web", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.change("web", web, func() { web.Spec.Suspend, web.Spec.HTTP.Replicas = false, nil })
	s.Eventually(replicas).Should(gomega.BeEquivalentTo(1), "the autoscaler does not start from nothing")
	s.Eventually(func() error {
		return k8s.Get(s.ctx, s.key("web-collector"), &autoscalingv2.HorizontalPodAutoscaler{})
	}).Should(gomega.Succeed())
}

// A tracking plan that cannot be used stalls the Source, and nothing else: it takes events, which the engine judges by the
// plan of before.
func TestInvalidTrackingPlan(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceWeb)
	s.available("web-collector")
	web := &v1alpha1.Source{}
	plan := func(schema string) *v1alpha1.TrackingPlan {
		return &v1alpha1.TrackingPlan{Events: []v1alpha1.PlannedEvent{{Name: "Order Completed", Schema: &apiextensionsv1.JSON{Raw: []byte(schema)}}}}
	}
	s.change("web", web, func() { web.Spec.TrackingPlan = plan(`{"properties": {"total": {"type": "money"}}}`) })
	message := s.ready(web, "web", metav1.ConditionFalse, v1alpha1.ReasonTrackingPlanInvalid)
	s.Expect(message).To(gomega.HavePrefix("spec.trackingPlan.events[Order Completed].schema at /properties/total/type: "))
	s.Expect(meta.IsStatusConditionTrue(web.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
	s.Expect(meta.IsStatusConditionTrue(web.Status.Conditions, v1alpha1.ConditionCollectorAvailable)).To(gomega.BeTrue(), "the collector runs on")
	s.change("web", web, func() { web.Spec.TrackingPlan = plan(`{"properties": {"total": {"type": "number"}}}`) })
	s.ready(web, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A webhook has a Service, and a secret that is made once when the spec names none.
func TestWebhook(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: tickets}
spec: {platformRef: {name: shop}, mapping: root = this, webhook: {}}`)
	s.available("tickets-listener")
	hook := &v1alpha1.Source{}
	message := s.ready(hook, "tickets", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(message).To(gomega.ContainSubstring("takes requests at http://tickets-listener."))
	s.Expect(hook.Status.Endpoint).To(gomega.Equal("http://tickets-listener." + s.namespace + ".svc"))
	s.get("tickets-listener", &corev1.Service{})
	secret := &corev1.Secret{}
	s.get("tickets-webhook", secret)
	s.Expect(len(secret.Data["secret"])).To(gomega.BeNumerically(">=", 32))
	s.change("tickets", hook, func() {
		hook.Spec.Webhook = &v1alpha1.WebhookSource{Verify: v1alpha1.VerifyStripe, SecretRef: &v1alpha1.SecretKeyReference{Name: "stripe", Key: "signing"}}
	})
	message = s.ready(hook, "tickets", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(message).To(gomega.ContainSubstring("spec.webhook.secretRef"))
	s.secret("stripe", map[string]string{"signing": "whsec_x"})
	s.ready(hook, "tickets", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// The write key is made once; whoever changes it has changed it.
func TestWriteKeyIsMadeOnce(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceWeb)
	s.available("web-collector")
	web, key := &v1alpha1.Source{}, &corev1.Secret{}
	s.ready(web, "web", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.get("web-write-key", key)
	s.Expect(len(key.Data["writeKey"])).To(gomega.BeNumerically(">=", 40), "256 random bits")
	s.Expect(metav1.IsControlledBy(key, web)).To(gomega.BeTrue())
	s.change("web-write-key", key, func() { key.Data["writeKey"] = []byte("my-own") })
	s.request("web", &v1alpha1.Source{}, "now")
	s.Eventually(func() string { s.get("web", web); return web.Status.LastHandledRequest }).Should(gomega.Equal("now"))
	s.get("web-write-key", key)
	s.Expect(string(key.Data["writeKey"])).To(gomega.Equal("my-own"))
	s.Expect(k8s.Delete(s.ctx, key)).To(gomega.Succeed())
	s.Eventually(func() error { return k8s.Get(s.ctx, s.key("web-write-key"), key) }).Should(gomega.Succeed(), "a deleted one is made anew")
}

// A Secret that a person has to make is waited for, and its key too.
func TestSourceOfAMissingSecret(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: crm}
spec: {platformRef: {name: shop}, mapping: root = this, sql: {driver: postgres, dsnSecretRef: {name: crm-db, key: dsn}, query: select 1}}`)
	crm := &v1alpha1.Source{}
	message := s.ready(crm, "crm", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(message).To(gomega.Equal("spec.sql.dsnSecretRef: there is no Secret crm-db; create it with the key dsn"))
	secret := s.secret("crm-db", map[string]string{"url": "postgres://"})
	s.Eventually(func() string { return s.ready(crm, "crm", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound) }).
		Should(gomega.Equal("spec.sql.dsnSecretRef: Secret crm-db has no key dsn, or it is empty; add it"))
	s.Expect(s.jobs(v1alpha1.SourceLabel, "crm")).To(gomega.BeEmpty())
	secret.StringData = map[string]string{"dsn": "postgres://u:p@h/d"}
	s.Expect(k8s.Update(s.ctx, secret)).To(gomega.Succeed())
	job := s.job(v1alpha1.SourceLabel, "crm")
	s.Expect(job.Spec.Template.Spec.Containers[0].Args).To(gomega.ContainElements("--dsn-file", "/etc/kohort/dsn/dsn"))
	s.succeed(job, run.Report{Read: 1, Published: 1})
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// Without a schedule a Source runs once for what it is asked: not again for a suspension, but for another url, and on
// request.
func TestSourceWithoutScheduleRunsOnce(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceCRM)
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 1, Published: 1})
	crm := &v1alpha1.Source{}
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(crm.Status.LastRun.Read).To(gomega.BeEquivalentTo(1))
	s.Expect(crm.Status.NextRun).To(gomega.BeNil())
	s.change("crm", crm, func() { crm.Spec.Suspend = true })
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.change("crm", crm, func() { crm.Spec.Suspend = false })
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Consistently(func() int { return len(s.jobs(v1alpha1.SourceLabel, "crm")) }, "500ms").Should(gomega.Equal(1))
	s.change("crm", crm, func() { crm.Spec.Files.URL = "https://files.test/other.csv" })
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 2, Published: 2})
	s.request("crm", crm, "now")
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 3, Published: 3})
	s.Eventually(func() int64 { s.get("crm", crm); return crm.Status.LastRun.Read }).Should(gomega.BeEquivalentTo(3))
	s.Expect(crm.Status.LastHandledRequest).To(gomega.Equal("now"))
}

// A mapping that does not parse stalls the Source with the run's own words; an edit is tried at once, even on a schedule.
func TestSourceOfABadMapping(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceCRM + "\n  schedule: 24h")
	s.fail(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Reason: v1alpha1.ReasonMappingInvalid, Message: "spec.mapping: line 1: unknown function"}, true)
	crm := &v1alpha1.Source{}
	message := s.ready(crm, "crm", metav1.ConditionFalse, v1alpha1.ReasonMappingInvalid)
	s.Expect(message).To(gomega.ContainSubstring("line 1: unknown function"))
	s.Eventually(func() bool {
		s.get("crm", crm)
		return meta.IsStatusConditionTrue(crm.Status.Conditions, v1alpha1.ConditionStalled)
	}).Should(gomega.BeTrue())
	s.change("crm", crm, func() { crm.Spec.Mapping = "root = this.event" })
	s.succeed(s.job(v1alpha1.SourceLabel, "crm"), run.Report{Read: 1, Published: 1})
	s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(crm.Status.NextRun).NotTo(gomega.BeNil())
}

func TestSourceSchedules(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceCRM + "\n  schedule: '0 6 30 2 *'")
	crm := &v1alpha1.Source{}
	message := s.ready(crm, "crm", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.HavePrefix("spec.schedule:"))
	// New Year's Day: whenever this test runs, the first slot is not at once.
	s.apply(sourceCRM + "\n  schedule: '0 6 1 1 *'\n  timeZone: Europe/Berlin")
	message = s.ready(crm, "crm", metav1.ConditionTrue, v1alpha1.ReasonAwaitingFirstRun)
	s.Expect(message).To(gomega.ContainSubstring("-01-01T05:00:00Z"))
	s.Expect(s.jobs(v1alpha1.SourceLabel, "crm")).To(gomega.BeEmpty())
}

// A claim is mounted for reading alone.
func TestSourceOfAClaim(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: files}
spec: {platformRef: {name: shop}, mapping: root = this, files: {url: "file:///in/*.csv", claimRef: {name: drop}, format: CSV}}`)
	job := s.job(v1alpha1.SourceLabel, "files")
	pod := job.Spec.Template.Spec
	s.Expect(pod.Containers[0].VolumeMounts).To(gomega.ContainElement(corev1.VolumeMount{Name: "data", MountPath: "/data", ReadOnly: true}))
	s.Expect(pod.Containers[0].Env[0].Value).To(gomega.ContainSubstring(`"root":"/data"`))
	s.Expect(*pod.SecurityContext.FSGroup).To(gomega.BeEquivalentTo(65532))
}

// An operator that starts while a Job runs leaves it alone, also when it would build another one today.
func TestRestartLeavesARunAlone(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(sourceCRM)
	job := s.job(v1alpha1.SourceLabel, "crm")
	crm := &v1alpha1.Source{}
	s.ready(crm, "crm", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	before := testImages
	testImages.Connector = "kohort.test/connector:2"
	defer func() { testImages = before }()
	stop, err := startOperator([]string{s.namespace})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	defer stop()
	s.request("crm", crm, "while it runs")
	s.Consistently(func() int { return len(s.jobs(v1alpha1.SourceLabel, "crm")) }, "1s").Should(gomega.Equal(1), "one run at a time")
	found := s.job(v1alpha1.SourceLabel, "crm")
	s.Expect(found.UID).To(gomega.Equal(job.UID))
	s.Expect(found.Spec.Template.Spec.Containers[0].Image).To(gomega.Equal("kohort.test/connector:1"))
	s.succeed(found, run.Report{Read: 1, Published: 1})
	s.Eventually(func() string { s.get("crm", crm); return crm.Status.LastHandledRequest }).Should(gomega.Equal("while it runs"), "the request is answered when the run has ended")
	s.Expect(s.jobs(v1alpha1.SourceLabel, "crm")).To(gomega.HaveLen(2))
	s.Expect(k8s.DeleteAllOf(s.ctx, crm, client.InNamespace(s.namespace))).To(gomega.Succeed())
}

func ptr[T any](v T) *T { return &v }

// A queue has a listener, which waits for every Secret that it needs and stops when it is told to.
func TestSourceThatListens(t *testing.T) {
	s := newScene(t)
	s.serving()
	s.apply(`
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: orders}
spec:
  platformRef: {name: shop}
  mapping: root = this
  kafka:
    brokers: ["kafka:9093"]
    topics: [orders]
    tls: {caSecretRef: {name: kafka, key: ca}}
    sasl: {mechanism: ScramSHA512, username: kohort, passwordSecretRef: {name: kafka, key: password}}
`)
	orders, listener := &v1alpha1.Source{}, &appsv1.Deployment{}
	s.ready(orders, "orders", metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	s.Expect(meta.FindStatusCondition(orders.Status.Conditions, v1alpha1.ConditionReady).Message).To(gomega.ContainSubstring("spec.kafka.sasl.passwordSecretRef"))
	secret := s.secret("kafka", map[string]string{"password": "x"})
	s.Eventually(func() string {
		s.get("orders", orders)
		return meta.FindStatusCondition(orders.Status.Conditions, v1alpha1.ConditionReady).Message
	}).Should(gomega.ContainSubstring("spec.kafka.tls.caSecretRef"))
	s.change("kafka", secret, func() { secret.StringData = map[string]string{"ca": "pem"} })
	s.available("orders-listener")
	s.ready(orders, "orders", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(meta.IsStatusConditionTrue(orders.Status.Conditions, v1alpha1.ConditionListenerAvailable)).To(gomega.BeTrue())
	s.Expect(orders.Status.Type).To(gomega.Equal("kafka"))
	s.change("orders", orders, func() { orders.Spec.Suspend = true })
	s.Eventually(func() int32 { s.get("orders-listener", listener); return *listener.Spec.Replicas }).Should(gomega.BeEquivalentTo(0))
	s.ready(orders, "orders", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
}
