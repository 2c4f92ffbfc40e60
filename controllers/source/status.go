package source

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/outcome"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/trackingplan"
)

// Missing is what has to be there before anything can be made for a Source; nil when all is there.
func Missing(f Facts) *outcome.Outcome {
	var o outcome.Outcome
	switch {
	case !f.Platform.Found:
		o = f.Platform.NotFound()
	case f.Secret != nil && f.Secret.Missing() != "":
		o = outcome.Wait(v1alpha1.ReasonSecretNotFound, f.Secret.Missing())
	default:
		return nil
	}
	return &o
}

// InvalidPlan is the fault in a tracking plan that cannot be used; nil without one. The Source works on: the engine keeps
// the plan of before in force, and lets nothing in unjudged.
func InvalidPlan(s *v1alpha1.Source) *outcome.Outcome {
	if s.Spec.TrackingPlan == nil {
		return nil
	}
	if _, err := trackingplan.Compile(s.Spec.TrackingPlan); err != nil {
		o := outcome.Stall(v1alpha1.ReasonTrackingPlanInvalid, err.Error()+"; until it is corrected the plan of before stays in force, and without one events wait in quarantine")
		return &o
	}
	return nil
}

// Available is the condition of a Source's collector or listener.
func Available(s *v1alpha1.Source, f Facts) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionCollectorAvailable, Status: metav1.ConditionFalse}
	who, does := "the collector", "takes events at "+Endpoint(s)
	if s.Listens() {
		c.Type, who, does = v1alpha1.ConditionListenerAvailable, "the listener", "is connected and reads"
	}
	if s.Spec.Webhook != nil {
		does = "takes requests at " + Endpoint(s)
	}
	switch trouble := workload.Trouble(f.Pods); {
	case s.Spec.Suspend:
		c.Reason, c.Message = v1alpha1.ReasonSuspended, "spec.suspend is true: "+who+" is stopped"
	case f.Server != nil && f.Server.Status.AvailableReplicas > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonReady, who+" "+does
	case trouble != "":
		c.Reason, c.Message = v1alpha1.ReasonWorkloadUnavailable, who+" does not run: "+trouble
	case !f.Platform.Serves:
		c.Reason, c.Message = v1alpha1.ReasonPlatformNotReady, fmt.Sprintf("%s waits for the stream of Platform %s", who, f.Platform.Name)
	default:
		c.Reason, c.Message = v1alpha1.ReasonProgressing, who+" is starting, or connects"
	}
	return c
}

// Served is Ready of a Source with a collector or a listener.
func Served(s *v1alpha1.Source, f Facts, available metav1.Condition) outcome.Outcome {
	degraded := workload.Degraded(f.Server, f.Pods)
	switch {
	case s.Spec.Suspend:
		return outcome.Done(v1alpha1.ReasonSuspended, "nothing is taken; set spec.suspend to false to go on")
	case available.Status == metav1.ConditionTrue && degraded != "":
		return outcome.Wait(v1alpha1.ReasonWorkloadUnavailable, available.Message+", and some pods do not run: "+degraded)
	case available.Status == metav1.ConditionTrue:
		return outcome.Done(v1alpha1.ReasonReady, available.Message)
	case available.Reason == v1alpha1.ReasonProgressing:
		return outcome.Progress(available.Reason, available.Message)
	default:
		return outcome.Wait(available.Reason, available.Message)
	}
}

// Pulls is Ready of a files or sql Source that nothing is missing for.
func Pulls(s *v1alpha1.Source, f Facts, verdict runs.Verdict, d runs.Decision) outcome.Outcome {
	switch {
	case s.Spec.Suspend:
		return outcome.Done(v1alpha1.ReasonSuspended, "no run is started; set spec.suspend to false to go on")
	case !f.Platform.Serves:
		return f.Platform.NotServing()
	case !d.Missed.IsZero() && (verdict.Outcome == nil || verdict.Condition.Status == metav1.ConditionTrue):
		return outcome.Done(v1alpha1.ReasonRunMissed, fmt.Sprintf("the run of %s could not start within spec.startingDeadline (%s); the next one covers its time", d.Missed.Format(time.RFC3339), s.Spec.StartingDeadline))
	case verdict.Outcome != nil:
		return *verdict.Outcome
	case !d.Next.IsZero():
		return outcome.Done(v1alpha1.ReasonAwaitingFirstRun, "the first run is at "+d.Next.Format(time.RFC3339))
	default:
		return outcome.Progress(v1alpha1.ReasonProgressing, "the run is about to start")
	}
}

// Describe tells what a pull did.
func Describe(r run.Report) string {
	return runs.Describe(
		runs.Amount{Word: "records read", N: r.Read}, runs.Amount{Word: "events published", N: r.Published}, runs.Amount{Word: "rejected", N: r.Rejected})
}

// Run is a record as the status shows it.
func Run(r *runs.Record) *v1alpha1.PullRun {
	return &v1alpha1.PullRun{Run: r.Run, Read: r.Report.Read, Published: r.Report.Published, Rejected: r.Report.Rejected, Rejections: runs.Rejections(r.Report)}
}

// Remembered is the record of the run that the status shows; nil without one.
func Remembered(s *v1alpha1.Source) *runs.Record {
	last := s.Status.LastRun
	if last == nil {
		return nil
	}
	report := run.Report{Read: last.Read, Published: last.Published, Rejected: last.Rejected}
	for _, r := range last.Rejections {
		report.Rejections = append(report.Rejections, run.Rejection{Reason: r.Reason, Count: r.Count, Example: r.Example})
	}
	return &runs.Record{Run: last.Run, Report: report}
}
