package runs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/internal/run"
)

// reportPatience is how long after a Job's end its pod's termination message may still be on the way to the cache: the
// Job controller and the kubelet write to different objects.
const reportPatience = 10 * time.Second

// Kept is how many finished Jobs stay for people to look at, of each result.
const Kept = 3

const (
	maxRunMessage = 1024 // api/v1alpha1 Run.message
	maxExample    = 256  // api/v1alpha1 RejectionCount.example
	maxReason     = 128
	maxRejections = 10
)

// Record is how one run is going, or went.
type Record struct {
	Run v1alpha1.Run
	// Active : the Job has not ended, or its report is still on the way.
	Active bool
	// Fatal : the run said itself that trying again cannot help.
	Fatal bool
	// Drain : the run takes every member out.
	Drain bool
	// Request that the run answers.
	Request string
	// Report of the run; the zero value when it left none.
	Report run.Report
	// Settle asks for another look after this time, because the report is on the way.
	Settle time.Duration
	made   time.Time
}

// Answers gives the request back when the run was made for it, and nothing otherwise: an older run answers an older one.
func (r *Record) Answers(request string) string {
	if r.Request != request {
		return ""
	}
	return request
}

func (r *Record) failed() bool { return r.Run.Result == v1alpha1.RunFailed }

// Observe reads a Job and its pods. describe tells people what a run that succeeded did.
func Observe(job *batchv1.Job, pods []corev1.Pod, describe func(run.Report) string, now time.Time) Record {
	r := Record{made: job.CreationTimestamp.Time, Request: job.Annotations[naming.RequestAnnotation]}
	r.Drain = job.Annotations[naming.DrainAnnotation] == "true"
	r.Run = v1alpha1.Run{Name: job.Name, Result: v1alpha1.RunRunning, Started: job.Status.StartTime, Order: job.Annotations[naming.OrderAnnotation]}
	r.Run.Generation, _ = strconv.ParseInt(job.Annotations[naming.GenerationAnnotation], 10, 64) // ours; 0 when edited away
	if slot, err := time.Parse(time.RFC3339, job.Annotations[naming.SlotAnnotation]); err == nil {
		r.Run.Slot = &metav1.Time{Time: slot.UTC()}
	}
	if from, err := time.Parse(time.RFC3339, job.Annotations[naming.FromAnnotation]); err == nil {
		r.Run.From = &metav1.Time{Time: from.UTC()}
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return !metav1.IsControlledBy(&p, job) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	end := ended(job)
	if end == nil {
		r.Active = true
		r.Run.Reason, r.Run.Message = trouble(pods)
		return r
	}
	report, terminated := lastReport(pods)
	if report == nil && now.Sub(end.LastTransitionTime.Time) < reportPatience && terminated == nil {
		r.Active, r.Settle = true, time.Second
		return r
	}
	r.finish(job, end, report, terminated)
	if !r.failed() && r.Run.Message == "" {
		r.Run.Message = describe(r.Report)
	}
	return r
}

// trouble says why an active run gets nowhere: its pod cannot run, or the newest try failed and is made again. Both are
// empty while all is well.
func trouble(newestFirst []corev1.Pod) (reason, message string) {
	if len(newestFirst) == 0 {
		return "", ""
	}
	report, terminated := lastReport(newestFirst)
	switch {
	case report != nil && report.Result == v1alpha1.RunFailed:
		return cut(cmp.Or(report.Reason, v1alpha1.ReasonRunFailed), maxReason), cut(report.Message+"; it is tried again", maxRunMessage)
	case terminated != nil && terminated.ExitCode != 0:
		return v1alpha1.ReasonRunFailed, cut(fmt.Sprintf("a try ended with exit code %d (%s) and left no report; it is made again", terminated.ExitCode, cmp.Or(terminated.Reason, "Error")), maxRunMessage)
	}
	if text := workload.Trouble(newestFirst[:1]); text != "" {
		return v1alpha1.ReasonWorkloadUnavailable, cut(text, maxRunMessage)
	}
	return "", ""
}

// finish fills in how an ended run went.
func (r *Record) finish(job *batchv1.Job, end *batchv1.JobCondition, report *run.Report, terminated *corev1.ContainerStateTerminated) {
	r.Run.Finished = &end.LastTransitionTime
	if job.Status.CompletionTime != nil {
		r.Run.Finished = job.Status.CompletionTime
	}
	succeeded := end.Type == batchv1.JobComplete
	r.Run.Result = v1alpha1.RunFailed
	if succeeded {
		r.Run.Result = v1alpha1.RunSucceeded
	}
	switch {
	case report != nil:
		r.Report = *report
		r.Run.Message = cut(report.Message, maxRunMessage)
		if !succeeded {
			r.Run.Reason = cut(cmp.Or(report.Reason, v1alpha1.ReasonRunFailed), maxReason)
			r.Fatal = end.Reason == batchv1.JobReasonPodFailurePolicy
			r.Run.Message = cut(cmp.Or(report.Message, "the run failed and gave no message; kubectl logs job/"+job.Name+" may tell more"), maxRunMessage)
		}
	case !succeeded:
		r.Run.Reason = v1alpha1.ReasonRunFailed
		r.Run.Message = cut(unreported(job, end, terminated), maxRunMessage)
	}
}

// unreported explains a failure that the run itself could not.
func unreported(job *batchv1.Job, end *batchv1.JobCondition, terminated *corev1.ContainerStateTerminated) string {
	switch {
	case terminated != nil && terminated.Reason == "OOMKilled":
		return "the run was killed because it needed more memory than its limit"
	case terminated != nil:
		return fmt.Sprintf("the run ended with exit code %d (%s) and left no report; see kubectl logs job/%s", terminated.ExitCode, cmp.Or(terminated.Reason, "Error"), job.Name)
	default:
		return fmt.Sprintf("the Job failed: %s: %s", end.Reason, end.Message)
	}
}

// ended is the condition that ended a Job; nil while it runs.
func ended(job *batchv1.Job) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// Ended says that a Job runs no more.
func Ended(job *batchv1.Job) bool { return ended(job) != nil }

// lastReport is the termination message of the newest pod that ended, and how it ended.
func lastReport(newestFirst []corev1.Pod) (*run.Report, *corev1.ContainerStateTerminated) {
	for _, pod := range newestFirst {
		for _, status := range pod.Status.ContainerStatuses {
			terminated := status.State.Terminated
			if terminated == nil {
				continue
			}
			report, err := run.Decode(terminated.Message)
			if err != nil || report.Result == "" {
				return nil, terminated // killed before it could write one
			}
			return &report, terminated
		}
	}
	return nil, nil
}

// Rejections are a report's, as status holds them.
func Rejections(report run.Report) []v1alpha1.RejectionCount {
	var out []v1alpha1.RejectionCount
	for _, r := range report.Rejections {
		if len(out) == maxRejections || slices.ContainsFunc(out, func(c v1alpha1.RejectionCount) bool { return c.Reason == r.Reason }) {
			continue
		}
		out = append(out, v1alpha1.RejectionCount{Reason: cut(r.Reason, maxReason), Count: r.Count, Example: cut(r.Example, maxExample)})
	}
	return out
}

// Sort puts the newest run first. Slots tell, for each is later than the one before (see Decide); creation times do not,
// because the API server's have seconds only.
func Sort(records []Record) {
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(slotOf(b).Compare(slotOf(a)), b.made.Compare(a.made), cmp.Compare(a.Run.Name, b.Run.Name))
	})
}

func slotOf(r Record) time.Time {
	if r.Run.Slot == nil {
		return time.Time{}
	}
	return r.Run.Slot.Time
}

// Survey finds the newest run and the newest one that has ended among those seen (newest first) and the one that status
// remembers, whose Job may be gone. Each may be nil.
func Survey(records []Record, remembered *Record) (newest, finished *Record) {
	all := make([]*Record, 0, len(records)+1)
	for i := range records {
		all = append(all, &records[i])
	}
	if remembered != nil && !slices.ContainsFunc(all, func(r *Record) bool { return r.Run.Name == remembered.Run.Name }) {
		gone := *remembered
		if gone.Run.Result == v1alpha1.RunRunning {
			gone.Run.Result, gone.Run.Reason, gone.Run.Message = v1alpha1.RunFailed, v1alpha1.ReasonRunFailed, "the run's Job was deleted before it ended"
		}
		at := slices.IndexFunc(all, func(r *Record) bool { return slotOf(*r).Before(slotOf(gone)) })
		if at < 0 {
			at = len(all)
		}
		all = slices.Insert(all, at, &gone)
	}
	for _, r := range all {
		if newest == nil || r.Active && !newest.Active { // one that runs counts, whatever its slot says
			newest = r
		}
		if !r.Active && finished == nil {
			finished = r
		}
	}
	return newest, finished
}

// Outdated are the names of the finished Jobs beyond the newest three that succeeded and three that failed.
func Outdated(records []Record) []string {
	count := map[string]int{}
	var names []string
	for _, r := range records {
		if r.Active {
			continue
		}
		if count[r.Run.Result]++; count[r.Run.Result] > Kept {
			names = append(names, r.Run.Name)
		}
	}
	return names
}

func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	n -= len("…")
	for n > 0 && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:n] + "…"
}
