package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/internal/run"
)

// vip brings the Platform, the Audience and its one Sync to where the first run is under way.
func (s *scene) vip() *batchv1.Job {
	s.t.Helper()
	s.apply(platformShop, destinationMailer, audienceVIP)
	s.serve("shop")
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.evaluate("vip")
	return s.syncJob()
}

func (s *scene) syncJob() *batchv1.Job {
	s.t.Helper()
	return s.job(v1alpha1.SyncLabel, "vip-mailer")
}

// delivered is vip after its first run has succeeded.
func (s *scene) delivered() *v1alpha1.Sync {
	s.t.Helper()
	s.succeed(s.vip(), run.Report{Added: 2, Members: 2})
	sync := &v1alpha1.Sync{}
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	return sync
}

func TestSyncReportsARun(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	sync := &v1alpha1.Sync{}
	s.ready(sync, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	s.Expect(sync.Status.LastRun.Result).To(gomega.Equal(v1alpha1.RunRunning))
	s.succeed(job, run.Report{Added: 3, Updated: 1, Removed: 2, Retried: 4, Rejected: 1, Members: 7, Revision: 9,
		Rejections: []run.Rejection{{Reason: "InvalidEmail", Count: 1, Example: "no domain"}}})
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	last := sync.Status.LastRun
	s.Expect([]any{last.Name, last.Result, last.Generation}).To(gomega.Equal([]any{job.Name, v1alpha1.RunSucceeded, int64(1)}))
	s.Expect([]int64{last.Added, last.Updated, last.Removed, last.Rejected, last.Retried, last.Revision}).To(gomega.Equal([]int64{3, 1, 2, 1, 4, 9}))
	s.Expect(*sync.Status.Members).To(gomega.BeEquivalentTo(7))
	s.Expect(sync.Status.Rejections).To(gomega.Equal([]v1alpha1.RejectionCount{{Reason: "InvalidEmail", Count: 1, Example: "no domain"}}))
	s.Expect(sync.Status.History).To(gomega.HaveLen(1))
	s.Expect(sync.Status.NextRun).NotTo(gomega.BeNil())
	condition := meta.FindStatusCondition(sync.Status.Conditions, v1alpha1.ConditionLastRunSucceeded)
	s.Expect(condition.Reason).To(gomega.Equal(v1alpha1.ReasonRowsRejected), "rows that were refused are named, although the run succeeded")
}

// What a person waits for after kubectl annotate.
func TestSyncAnswersARequestOnce(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.request("vip-mailer", &v1alpha1.Sync{}, "2026-11-23T10:00:00Z")
	s.succeed(s.syncJob(), run.Report{Members: 2})
	sync := &v1alpha1.Sync{}
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		g.Expect(sync.Status.LastHandledRequest).To(gomega.Equal("2026-11-23T10:00:00Z"))
		g.Expect(sync.Status.History).To(gomega.HaveLen(2))
	}).Should(gomega.Succeed())
	s.Consistently(func() int { return len(s.jobs(v1alpha1.SyncLabel, "vip-mailer")) }, "1s").Should(gomega.Equal(2))
}

// A value that was used before, and the Job of which is still there, is an answer: nothing hangs, and nothing runs.
func TestSyncOfARepeatedRequest(t *testing.T) {
	s := newScene(t)
	s.delivered()
	sync := &v1alpha1.Sync{}
	handled := func() string { s.get("vip-mailer", sync); return sync.Status.LastHandledRequest }
	for _, request := range []string{"one", "two"} {
		s.request("vip-mailer", &v1alpha1.Sync{}, request)
		s.succeed(s.syncJob(), run.Report{Members: 2})
		s.Eventually(handled).Should(gomega.Equal(request))
	}
	s.request("vip-mailer", &v1alpha1.Sync{}, "one")
	s.Eventually(handled).Should(gomega.Equal("one"))
	s.request("vip-mailer", &v1alpha1.Sync{}, strings.Repeat("é", 100)) // cut in the middle of a letter it would never be answered
	s.succeed(s.syncJob(), run.Report{Members: 2})
	s.Eventually(handled).Should(gomega.Equal(strings.Repeat("é", 64)))
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.settled()
	s.Expect(handled()).To(gomega.Equal(strings.Repeat("é", 64)))
}

// A request on the Audience reaches each of its Syncs.
func TestAudienceHandsARequestOn(t *testing.T) {
	s := newScene(t)
	s.delivered()
	s.request("vip", &v1alpha1.Audience{}, "now")
	s.succeed(s.syncJob(), run.Report{Members: 2})
	s.Eventually(func(g gomega.Gomega) {
		a, sync := &v1alpha1.Audience{}, &v1alpha1.Sync{}
		s.get("vip", a)
		s.get("vip-mailer", sync)
		g.Expect([]string{a.Status.LastHandledRequest, sync.Status.LastHandledRequest}).To(gomega.Equal([]string{"now", "now"}))
	}).Should(gomega.Succeed())
}

// The destination follows an edit at once, although the schedule's next slot is a day away; and neither the Audience nor
// its Sync claims to be Ready before it has.
func TestAnEditIsDeliveredAtOnce(t *testing.T) {
	s := newScene(t)
	s.delivered()
	audience := &v1alpha1.Audience{}
	s.change("vip", audience, func() { audience.Spec.Criteria[0].Event.Name = "Order Refunded" })
	s.ready(audience, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.HaveLen(1), "a run before the evaluation would deliver the old members")
	s.evaluate("vip")
	job := s.syncJob()
	s.Expect(job.Annotations[naming.GenerationAnnotation]).To(gomega.Equal("2"))
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip", audience)
		g.Expect(audience.Status.Synced).To(gomega.Equal("0/1"), "the destination holds the members of the generation before")
	}).Should(gomega.Succeed())
	s.succeed(job, run.Report{Members: 1, Removed: 1})
	s.ready(audience, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(audience.Status.Synced).To(gomega.Equal("1/1"))
}

// People learn what is wrong while the Job still tries, not after its ten minutes of tries.
func TestSyncTellsAboutATryThatFailed(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	s.pod(job, job.Name+"-1", terminated(run.ExitRetry, run.Report{Result: v1alpha1.RunFailed, Reason: v1alpha1.ReasonDestinationUnreachable, Message: "mail.test: no such host"}))
	message := s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonDestinationUnreachable)
	s.Expect(message).To(gomega.ContainSubstring("mail.test: no such host"))
	message = s.ready(&v1alpha1.Destination{}, "mailer", metav1.ConditionFalse, v1alpha1.ReasonDestinationUnreachable)
	s.Expect(message).To(gomega.ContainSubstring("mail.test"))
	message = s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonDestinationUnreachable)
	s.Expect(message).To(gomega.ContainSubstring("destination mailer"), "an Audience has many destinations: the message says which")
	s.succeed(job, run.Report{Members: 2, Added: 2})
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.ready(&v1alpha1.Destination{}, "mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

func TestSyncOfAPodThatCannotStart(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	s.pod(job, job.Name+"-1", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "back-off 5m0s"}})
	message := s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonWorkloadUnavailable)
	s.Expect(message).To(gomega.ContainSubstring("kohort.test/connector:1 cannot be pulled"))
}

// Another mode is another order: it is delivered at once. One that the destination cannot do stalls the Audience, which names
// the field, and the Sync goes on as it was.
func TestSyncChangesItsMode(t *testing.T) {
	s := newScene(t)
	sync, audience := s.delivered(), &v1alpha1.Audience{}
	first := sync.Status.LastRun.Name
	s.change("vip", audience, func() { audience.Spec.Destinations[0].Mode = v1alpha1.SyncAppend })
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		g.Expect(sync.Spec.Mode).To(gomega.Equal(v1alpha1.SyncAppend))
	}).Should(gomega.Succeed())
	s.evaluate("vip")
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		g.Expect(sync.Status.LastRun.Name).NotTo(gomega.Equal(first))
	}).Should(gomega.Succeed())
	job := &batchv1.Job{}
	s.get(sync.Status.LastRun.Name, job)
	s.Expect(job.Spec.Template.Spec.Containers[0].Env[0].Value).To(gomega.ContainSubstring(`"mode":"Append"`))
	s.succeed(job, run.Report{Added: 1, Members: 3})
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)

	s.apply(`{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {dsn: "postgres://db.test/crm"}}`, `
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: table}
spec: {platformRef: {name: shop}, sql: {driver: postgres, dsnSecretRef: {name: db, key: dsn}, table: members}}`)
	s.change("vip", audience, func() {
		audience.Spec.Destinations = append(audience.Spec.Destinations, v1alpha1.AudienceDestination{Name: "table", Mode: v1alpha1.SyncAppend})
	})
	message := s.ready(audience, "vip", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.HavePrefix("spec.destinations[table].mode: Append sends each entry as an event, and Destination table (sql) holds a row per customer"))
	s.change("vip", audience, func() { audience.Spec.Destinations[1].Mode = v1alpha1.SyncUpsert })
	s.evaluate("vip")
	s.Expect(s.job(v1alpha1.SyncLabel, "vip-table").Spec.Template.Spec.Containers[0].Env[0].Value).To(gomega.ContainSubstring(`"mode":"Upsert"`))
}

// A Destination that takes one run at a time gets one at a time, whichever Sync it is of; others do not wait for it.
func TestSyncsTakeTurns(t *testing.T) {
	s := newScene(t)
	limited := strings.Replace(destinationMailer, "spec: {", "spec: {rateLimit: {perSecond: 5}, ", 1)
	s.apply(platformShop, limited, strings.Replace(destinationMailer, "name: mailer", "name: other", 1), audienceVIP,
		strings.Replace(strings.Replace(audienceVIP, "{name: vip}", "{name: late}", 1), "[{name: mailer, schedule: 24h}]", "[{name: mailer}, {name: other}]", 1))
	s.serve("shop")
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.evaluate("vip")
	first := s.syncJob()
	s.evaluate("late")
	message := s.ready(&v1alpha1.Sync{}, "late-mailer", metav1.ConditionFalse, v1alpha1.ReasonDestinationBusy)
	s.Expect(message).To(gomega.ContainSubstring("Destination mailer takes the runs of 1 Syncs at a time (spec.rateLimit.concurrency), and 1 are under way"))
	s.job(v1alpha1.SyncLabel, "late-other")
	s.Expect(s.jobs(v1alpha1.SyncLabel, "late-mailer")).To(gomega.BeEmpty())
	s.succeed(first, run.Report{Added: 2, Members: 2})
	s.Eventually(func() []batchv1.Job { return s.jobs(v1alpha1.SyncLabel, "late-mailer") }).WithTimeout(30 * time.Second).Should(gomega.HaveLen(1))
}

// Until it is known who is suppressed nobody is added, and Ready says so; then a run delivers at once.
func TestSyncKeepsTheSuppressedOut(t *testing.T) {
	s := newScene(t)
	s.apply(platformShop, strings.Replace(destinationMailer, "spec: {", "spec: {suppress: [{name: converted}], ", 1), audienceVIP)
	s.serve("shop")
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, v1alpha1.ReasonAwaitingEvaluation)
	s.evaluate("vip")
	sync := &v1alpha1.Sync{}
	message := s.ready(sync, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonSuppressionNotReady)
	s.Expect(message).To(gomega.HavePrefix("spec.suppress[converted] of Destination mailer: there is no Audience converted"))
	held := s.syncJob()
	order := func(job *batchv1.Job) string { return job.Spec.Template.Spec.Containers[0].Env[0].Value }
	s.Expect(order(held)).To(gomega.ContainSubstring(`"suppress":["converted"],"hold":true`))
	s.succeed(held, run.Report{})
	s.apply(strings.NewReplacer("{name: vip}", "{name: converted}", "[{name: mailer, schedule: 24h}]", "[]").Replace(audienceVIP))
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		c := meta.FindStatusCondition(sync.Status.Conditions, v1alpha1.ConditionReady)
		g.Expect(c.Message).To(gomega.ContainSubstring("has not evaluated generation 1 of Audience converted yet"))
	}).Should(gomega.Succeed())
	s.evaluate("converted")
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		g.Expect(sync.Status.LastRun.Name).NotTo(gomega.Equal(held.Name))
	}).Should(gomega.Succeed())
	job := &batchv1.Job{}
	s.get(sync.Status.LastRun.Name, job)
	s.Expect(order(job)).NotTo(gomega.ContainSubstring("hold"))
	s.succeed(job, run.Report{Added: 1, Members: 1, Suppressed: 3})
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(sync.Status.LastRun.Suppressed).To(gomega.BeEquivalentTo(3))
}

// A resync is a run of its own with an order of its own, whose value stays in all later ones.
func TestSyncIsSentAgain(t *testing.T) {
	s := newScene(t)
	sync := s.delivered()
	seen := map[string]bool{sync.Status.LastRun.Name: true}
	for _, value := range []string{"1", "2", "1", ""} {
		s.change("vip-mailer", sync, func() { sync.Annotations = map[string]string{v1alpha1.ResyncAnnotation: value} })
		if value == "" {
			s.request("vip-mailer", sync, "now")
			value = "1"
		}
		s.Eventually(func(g gomega.Gomega) {
			s.get("vip-mailer", sync)
			g.Expect(seen).NotTo(gomega.HaveKey(sync.Status.LastRun.Name))
			g.Expect(sync.Status.LastHandledResync).To(gomega.Equal(value))
		}).Should(gomega.Succeed())
		seen[sync.Status.LastRun.Name] = true
		job := &batchv1.Job{}
		s.get(sync.Status.LastRun.Name, job)
		s.Expect(job.Spec.Template.Spec.Containers[0].Env[0].Value).To(gomega.ContainSubstring(`"resync":"` + value + `"`))
		s.succeed(job, run.Report{Updated: 2, Members: 2})
		s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// A failure that only a person can mend stalls; a mended Destination is tried at once.
func TestSyncStallsAndIsMended(t *testing.T) {
	s := newScene(t)
	s.fail(s.vip(), run.Report{Reason: "TableRefused", Message: "permission denied", Pending: 2}, true)
	sync, destination := &v1alpha1.Sync{}, &v1alpha1.Destination{}
	s.ready(sync, "vip-mailer", metav1.ConditionFalse, "TableRefused")
	s.Eventually(func(g gomega.Gomega) {
		s.get("vip-mailer", sync)
		g.Expect(meta.IsStatusConditionTrue(sync.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
	}).Should(gomega.Succeed())
	s.Expect(sync.Status.Pending).To(gomega.BeEquivalentTo(2))
	s.ready(&v1alpha1.Audience{}, "vip", metav1.ConditionFalse, "TableRefused")
	s.change("mailer", destination, func() { destination.Spec.Webhook.URL = "https://mended.test/members" })
	job := s.syncJob()
	s.Expect(job.Spec.Template.Spec.Containers[0].Env[0].Value).To(gomega.ContainSubstring("mended.test"))
	s.succeed(job, run.Report{Members: 2})
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A run that ended without a report is told from one that left one, and the Job's own words are given.
func TestSyncOfARunThatLeftNoReport(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	s.pod(job, job.Name+"-1", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}})
	s.end(job, batchv1.JobFailureTarget, batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)
	s.Eventually(func(g gomega.Gomega) {
		sync := &v1alpha1.Sync{}
		s.get("vip-mailer", sync)
		g.Expect(sync.Status.LastRun.Result).To(gomega.Equal(v1alpha1.RunFailed))
		g.Expect(sync.Status.LastRun.Message).To(gomega.ContainSubstring("more memory"))
	}).Should(gomega.Succeed())
}

// The message of a run that has ended may reach the API server after the Job's end.
func TestSyncWaitsForALateReport(t *testing.T) {
	s := newScene(t)
	job := s.vip()
	s.end(job, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	time.Sleep(time.Second)
	s.pod(job, job.Name+"-1", terminated(0, run.Report{Result: v1alpha1.RunSucceeded, Members: 5, Added: 5}))
	sync := &v1alpha1.Sync{}
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(sync.Status.LastRun.Added).To(gomega.BeEquivalentTo(5))
}

func TestSyncIsSuspended(t *testing.T) {
	s := newScene(t)
	s.delivered()
	audience := &v1alpha1.Audience{}
	s.change("vip", audience, func() { audience.Spec.Suspend = true })
	s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.ready(audience, "vip", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.request("vip-mailer", &v1alpha1.Sync{}, "now")
	s.Consistently(func() int { return len(s.jobs(v1alpha1.SyncLabel, "vip-mailer")) }, "500ms").Should(gomega.Equal(1))
	s.change("vip", audience, func() { audience.Spec.Suspend = false })
	s.evaluate("vip")
	s.succeed(s.syncJob(), run.Report{Members: 2})
	s.ready(audience, "vip", metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A Destination that is suspended stops every run to it.
func TestDestinationIsSuspended(t *testing.T) {
	s := newScene(t)
	s.delivered()
	d := &v1alpha1.Destination{}
	s.change("mailer", d, func() { d.Spec.Suspend = true })
	s.ready(d, "mailer", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	message := s.ready(&v1alpha1.Sync{}, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.Expect(message).To(gomega.ContainSubstring("Destination mailer"))
}

// Only the newest Jobs are kept, while the history in the status goes further back.
func TestOldRunsArePruned(t *testing.T) {
	s := newScene(t)
	s.delivered()
	for _, request := range []string{"a", "b", "c", "d"} {
		s.request("vip-mailer", &v1alpha1.Sync{}, request)
		s.succeed(s.syncJob(), run.Report{Members: 2})
	}
	s.Eventually(func(g gomega.Gomega) {
		sync := &v1alpha1.Sync{}
		s.get("vip-mailer", sync)
		g.Expect(sync.Status.History).To(gomega.HaveLen(5))
		g.Expect(s.jobs(v1alpha1.SyncLabel, "vip-mailer")).To(gomega.HaveLen(3))
	}).Should(gomega.Succeed())
}

// Somebody else's Job under a run's name is neither taken nor touched.
func TestForeignJob(t *testing.T) {
	s := newScene(t)
	s.delivered()
	name := naming.RequestedRun("vip-mailer", "now")
	foreign := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, Spec: batchv1.JobSpec{
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}
	s.Expect(k8s.Create(s.ctx, foreign)).To(gomega.Succeed())
	s.request("vip-mailer", &v1alpha1.Sync{}, "now")
	sync := &v1alpha1.Sync{}
	message := s.ready(sync, "vip-mailer", metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	s.Expect(message).To(gomega.ContainSubstring("Job " + name))
	found := &batchv1.Job{}
	s.get(name, found)
	s.Expect(found.ResourceVersion).To(gomega.Equal(foreign.ResourceVersion))
	s.Expect(k8s.Delete(s.ctx, foreign, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(gomega.Succeed())
	s.request("vip-mailer", &v1alpha1.Sync{}, "again")
	s.succeed(s.syncJob(), run.Report{Members: 2})
	s.ready(sync, "vip-mailer", metav1.ConditionTrue, v1alpha1.ReasonReady)
}
