package sync

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/internal/run"
)

// going is a Sync that was deleted ten minutes ago.
func going(change ...func(*v1alpha1.Sync)) *v1alpha1.Sync {
	s := vip(change...)
	s.DeletionTimestamp = &metav1.Time{Time: noon.Add(-10 * time.Minute)}
	return s
}

func drained(result string, finished time.Duration) runs.Record {
	slot, end := metav1.NewTime(noon.Add(-10*time.Minute)), metav1.NewTime(noon.Add(finished))
	r := runs.Record{Drain: true, Active: result == v1alpha1.RunRunning, Run: v1alpha1.Run{Name: "vip-mailer-d1", Slot: &slot, Result: result}}
	if !r.Active {
		r.Run.Finished, r.Report = &end, run.Report{Result: result}
	}
	if result == v1alpha1.RunFailed {
		r.Run.Reason, r.Run.Message = v1alpha1.ReasonDestinationUnreachable, "no such host"
	}
	return r
}

func TestFarewell(t *testing.T) {
	delivered := runs.Record{Run: v1alpha1.Run{Name: "vip-mailer-1", Result: v1alpha1.RunSucceeded}}
	running := runs.Record{Active: true, Run: v1alpha1.Run{Name: "vip-mailer-2", Result: v1alpha1.RunRunning}}
	for _, c := range []struct {
		why     string
		sync    *v1alpha1.Sync
		facts   func(*Facts)
		records []runs.Record
		request string
		want    string // what the plan says
		left    bool
	}{
		{why: "nothing was delivered", want: "release: nothing was ever delivered"},
		{why: "nothing is seen any more, but the status remembers a run", want: "drain vip-mailer-d1795434600 (Draining)",
			sync: going(func(s *v1alpha1.Sync) {
				s.Status.LastRun = &v1alpha1.SyncRun{Run: v1alpha1.Run{Name: "x", Result: v1alpha1.RunSucceeded}}
			})},
		{why: "the first drain is named from the deletion, so that two passes make one", records: []runs.Record{delivered}, want: "drain vip-mailer-d1795434600 (Draining)"},
		{why: "a run is stopped first", records: []runs.Record{running, delivered}, want: "stop vip-mailer-2 (Draining)"},
		{why: "Retain asks for no drain", records: []runs.Record{delivered}, sync: going(func(s *v1alpha1.Sync) { s.Spec.DeletionPolicy = v1alpha1.DeletionRetain }),
			want: "release: deletionPolicy is Retain"},
		{why: "Retain stops a run nevertheless", records: []runs.Record{running}, sync: going(func(s *v1alpha1.Sync) { s.Spec.DeletionPolicy = v1alpha1.DeletionRetain }),
			want: "stop vip-mailer-2 (Draining)"},
		{why: "a drain is under way", records: []runs.Record{drained(v1alpha1.RunRunning, 0), delivered}, want: "wait (Draining)"},
		{why: "a drain succeeded", records: []runs.Record{drained(v1alpha1.RunSucceeded, -time.Minute), delivered}, want: "release: every member was taken out"},
		{why: "a drain failed a minute ago", records: []runs.Record{drained(v1alpha1.RunFailed, -time.Minute), delivered}, want: "wait (DestinationUnreachable)"},
		{why: "a drain failed long ago", records: []runs.Record{drained(v1alpha1.RunFailed, -6*time.Minute), delivered}, want: "drain vip-mailer-d1795435140 (Draining)"},
		{why: "a person asks for one at once", records: []runs.Record{drained(v1alpha1.RunFailed, -time.Minute), delivered}, request: "now", want: "drain vip-mailer-r"},
		{why: "the Destination is gone", records: []runs.Record{delivered}, facts: func(f *Facts) { f.Destination = nil }, want: "release: Destination mailer is gone", left: true},
		{why: "the Platform is gone", records: []runs.Record{delivered}, facts: func(f *Facts) { f.Platform.Found = false }, want: "release: Platform shop is gone", left: true},
		{why: "the store does not run now", records: []runs.Record{delivered}, facts: func(f *Facts) { f.Platform.Serves = false }, want: "wait (PlatformNotReady)"},
		{why: "the Destination is suspended", records: []runs.Record{delivered}, facts: func(f *Facts) { f.Destination.Spec.Suspend = true }, want: "wait (Suspended)"},
		{why: "the Audience is gone, which is how it should be", records: []runs.Record{delivered}, facts: func(f *Facts) { f.Audience = nil }, want: "drain vip-mailer-d1795434600 (Draining)"},
	} {
		t.Run(c.why, func(t *testing.T) {
			f := evaluated(mailer())
			if c.facts != nil {
				c.facts(&f)
			}
			s := c.sync
			if s == nil {
				s = going()
			} else {
				s.DeletionTimestamp = going().DeletionTimestamp
			}
			plan := Farewell(s, f, c.records, c.request, noon)
			if got := planText(plan); !strings.HasPrefix(got, c.want) || plan.Left != c.left {
				t.Errorf("got %q (left %t), want %q… (left %t)", got, plan.Left, c.want, c.left)
			}
		})
	}
}

func planText(p Plan) string {
	if p.Release != "" {
		return "release: " + p.Release
	}
	status := &v1alpha1.CommonStatus{}
	p.Outcome.Summarise(status, 1, noon)
	reason := " (" + status.Conditions[0].Reason + ")"
	switch {
	case p.Stop != "":
		return "stop " + p.Stop + reason
	case p.Drain != nil:
		return "drain " + p.Drain.Name + reason
	default:
		return "wait" + reason
	}
}
