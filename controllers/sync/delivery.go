package sync

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/run"
)

// delivery is what of a Destination's spec says how a run delivers; nil when nothing does. Runs do not know of each
// other: as many as may be under way at a time share the rate in equal parts.
func delivery(d v1alpha1.DestinationSpec) *run.Delivery {
	var out run.Delivery
	if limit := d.RateLimit; limit != nil {
		if limit.PerSecond != nil {
			out.Interval = time.Duration(limit.GetConcurrency()) * time.Second / time.Duration(*limit.PerSecond)
		}
		if limit.BatchSize != nil {
			out.BatchSize = int(*limit.BatchSize)
		}
	}
	if retry := d.Retry; retry != nil {
		if retry.Attempts != nil {
			out.Attempts = int(*retry.Attempts)
		}
		out.MaxDelay, out.Patience = length(retry.MaxDelay), length(retry.GiveUpAfter)
	}
	if out == (run.Delivery{}) {
		return nil
	}
	return &out
}

// length of a Duration; 0 for an absent one. The schema takes no other text.
func length(d v1alpha1.Duration) time.Duration {
	parsed, err := model.ParseDuration(string(d))
	if err != nil {
		return 0
	}
	return time.Duration(parsed)
}

// Busy says why a run may not start beside others that are under way; empty when it may.
func Busy(d *v1alpha1.Destination, others int) string {
	limit := d.Spec.RateLimit.GetConcurrency()
	if limit == 0 || others < limit {
		return ""
	}
	return fmt.Sprintf("Destination %s takes the runs of %d Syncs at a time (spec.rateLimit.concurrency), and %d are under way; the next one starts when one of them has ended", d.Name, limit, others)
}
