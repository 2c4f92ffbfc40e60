package runs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/internal/run"
)

func job(conditions ...batchv1.JobCondition) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "x-1", UID: "job", CreationTimestamp: metav1.NewTime(noon.Add(-time.Minute)), Annotations: map[string]string{
		naming.SlotAnnotation: noon.Format(time.RFC3339), naming.OrderAnnotation: "A", naming.GenerationAnnotation: "3", naming.RequestAnnotation: "now"}}}
	j.Status.Conditions = conditions
	return j
}

func ends(name batchv1.JobConditionType, reason string, ago time.Duration) batchv1.JobCondition {
	return batchv1.JobCondition{Type: name, Status: corev1.ConditionTrue, Reason: reason, Message: "said the Job", LastTransitionTime: metav1.NewTime(noon.Add(-ago))}
}

// pod is a try of the Job, made some seconds after the first.
func pod(after int, state corev1.ContainerState) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", CreationTimestamp: metav1.NewTime(noon.Add(time.Duration(after) * time.Second))}}
	p.OwnerReferences = []metav1.OwnerReference{{UID: "job", Controller: new(true)}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "sync", Image: "i", State: state}}
	return p
}

func said(code int32, r run.Report) corev1.ContainerState {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: string(text)}}
}

func died(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: "panic: …"}}
}

func TestObserve(t *testing.T) {
	unreachable := run.Report{Result: "Failed", Reason: "DestinationUnreachable", Message: "no such host"}
	works := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	foreign := pod(9, said(1, unreachable))
	foreign.OwnerReferences[0].UID = "another"
	for _, c := range []struct {
		why    string
		job    *batchv1.Job
		pods   []corev1.Pod
		result string
		reason string
		words  string
		active bool
		fatal  bool
		settle bool
	}{
		{why: "no pod yet", job: job(), result: "Running", active: true},
		{why: "the first try is at work", job: job(), pods: []corev1.Pod{pod(0, works)}, result: "Running", active: true},
		{why: "the first try failed", job: job(), pods: []corev1.Pod{pod(0, said(1, unreachable))}, result: "Running", active: true, reason: "DestinationUnreachable", words: "no such host; it is tried again"},
		{why: "the second is at work, and the trouble is not over yet", job: job(), pods: []corev1.Pod{pod(0, said(1, unreachable)), pod(20, works)},
			result: "Running", active: true, reason: "DestinationUnreachable", words: "no such host"},
		{why: "a try was killed", job: job(), pods: []corev1.Pod{pod(0, died(137, "OOMKilled"))}, result: "Running", active: true, reason: "RunFailed", words: "exit code 137 (OOMKilled)"},
		{why: "somebody else's pod is not looked at", job: job(), pods: []corev1.Pod{foreign}, result: "Running", active: true},
		{why: "it succeeded", job: job(ends(batchv1.JobComplete, "", time.Hour)), pods: []corev1.Pod{pod(0, said(0, run.Report{Result: "Succeeded", Added: 2}))}, result: "Succeeded", words: "2 added"},
		{why: "it succeeded at the second try", job: job(ends(batchv1.JobComplete, "", time.Hour)), result: "Succeeded", words: "2 added",
			pods: []corev1.Pod{pod(0, said(1, unreachable)), pod(20, said(0, run.Report{Result: "Succeeded", Added: 2}))}},
		{why: "it succeeded and its report is on the way", job: job(ends(batchv1.JobComplete, "", time.Second)), result: "Running", active: true, settle: true},
		{why: "it succeeded and its pod was removed long ago", job: job(ends(batchv1.JobComplete, "", time.Hour)), result: "Succeeded", words: "0 added"},
		{why: "it gave up", job: job(ends(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, time.Hour)), pods: []corev1.Pod{pod(0, said(1, unreachable))}, result: "Failed", reason: "DestinationUnreachable", words: "no such host"},
		{why: "it said that trying again is no use", job: job(ends(batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy, time.Hour)),
			pods: []corev1.Pod{pod(0, said(2, run.Report{Result: "Failed", Reason: "MappingInvalid", Message: "line 1"}))}, result: "Failed", reason: "MappingInvalid", words: "line 1", fatal: true},
		{why: "a crash has the exit code of a fatal error, and is none: it left no report", job: job(ends(batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy, time.Hour)),
			pods: []corev1.Pod{pod(0, died(2, "Error"))}, result: "Failed", reason: "RunFailed", words: "exit code 2 (Error) and left no report"},
		{why: "it was killed for its memory", job: job(ends(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, time.Hour)), pods: []corev1.Pod{pod(0, died(137, "OOMKilled"))}, result: "Failed", reason: "RunFailed", words: "more memory than its limit"},
		{why: "it took too long", job: job(ends(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded, time.Hour)), result: "Failed", reason: "RunFailed", words: "DeadlineExceeded: said the Job"},
		{why: "a report without a message", job: job(ends(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, time.Hour)), pods: []corev1.Pod{pod(0, said(1, run.Report{Result: "Failed"}))}, result: "Failed", reason: "RunFailed", words: "kubectl logs job/x-1"},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := Observe(c.job, c.pods, func(r run.Report) string { return Describe(Amount{"added", r.Added}) }, noon)
			if r.Run.Result != c.result || r.Run.Reason != c.reason || !strings.Contains(r.Run.Message, c.words) || (c.words == "") != (r.Run.Message == "") {
				t.Errorf("run = %s %s %q, want %s %s %q", r.Run.Result, r.Run.Reason, r.Run.Message, c.result, c.reason, c.words)
			}
			if r.Active != c.active || r.Fatal != c.fatal || (r.Settle > 0) != c.settle {
				t.Errorf("active %t, fatal %t, settle %s", r.Active, r.Fatal, r.Settle)
			}
			if (r.Run.Finished == nil) != c.active {
				t.Errorf("finished = %v", r.Run.Finished)
			}
			if r.Run.Order != "A" || r.Run.Generation != 3 || r.Request != "now" || !r.Run.Slot.Equal(&metav1.Time{Time: noon}) {
				t.Errorf("the Job's annotations were read as %+v", r)
			}
		})
	}
}

func TestSurvey(t *testing.T) {
	done := func(name string, minutes int) Record {
		r := *ran(-minutes, v1alpha1.RunSucceeded, "A")
		r.Run.Name = name
		return r
	}
	active := done("c", 3)
	active.Active, active.Run.Finished, active.Run.Result = true, nil, v1alpha1.RunRunning
	lost := active
	lost.Run.Name = "lost"
	for _, c := range []struct {
		why              string
		records          []Record
		remembered       *Record
		newest, finished string
		result           string // of the newest
	}{
		{why: "nothing ever ran"},
		{why: "two Jobs", records: []Record{done("b", 2), done("a", 1)}, newest: "b", finished: "b", result: "Succeeded"},
		{why: "one runs", records: []Record{active, done("b", 2)}, newest: "c", finished: "b", result: "Running"},
		{why: "the Jobs are gone, and the status remembers", remembered: &[]Record{done("b", 2)}[0], newest: "b", finished: "b", result: "Succeeded"},
		{why: "the status remembers an older run than the Jobs", records: []Record{done("b", 2)}, remembered: &[]Record{done("a", 1)}[0], newest: "b", finished: "b", result: "Succeeded"},
		{why: "the status remembers a newer run than the Jobs", records: []Record{done("a", 1)}, remembered: &[]Record{done("b", 2)}[0], newest: "b", finished: "b", result: "Succeeded"},
		{why: "the Job of a run under way was deleted", records: []Record{done("a", 1)}, remembered: &lost, newest: "lost", finished: "lost", result: "Failed"},
	} {
		t.Run(c.why, func(t *testing.T) {
			if c.remembered != nil {
				c.remembered.Active = false // the status does not say so
			}
			newest, finished := Survey(c.records, c.remembered)
			if got := name(newest); got != c.newest || newest != nil && newest.Run.Result != c.result {
				t.Errorf("newest = %s %+v, want %s %s", got, newest, c.newest, c.result)
			}
			if got := name(finished); got != c.finished {
				t.Errorf("finished = %s, want %s", got, c.finished)
			}
		})
	}
}

func name(r *Record) string {
	if r == nil {
		return ""
	}
	return r.Run.Name
}

func TestOutdated(t *testing.T) {
	var records []Record
	for i, result := range strings.Split("S S F S S F F F S", " ") {
		r := Record{Run: v1alpha1.Run{Name: string(rune('a' + i)), Result: v1alpha1.RunSucceeded}}
		if result == "F" {
			r.Run.Result = v1alpha1.RunFailed
		}
		records = append(records, r)
	}
	if got := strings.Join(Outdated(records), ""); got != "ehi" {
		t.Errorf("outdated = %q, want the fourth and fifth that succeeded and the fourth that failed", got)
	}
}
