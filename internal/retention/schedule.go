package retention

import (
	"fmt"
	"strings"
	"time"

	"github.com/adhocore/gronx"
	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
)

// Next is the moment after last that a schedule asks for: an interval later, or the next tick of a cron expression in
// UTC. The error names the field.
func Next(schedule v1alpha1.Schedule, last time.Time) (time.Time, error) {
	if interval, err := model.ParseDuration(string(schedule)); err == nil {
		if interval <= 0 {
			return time.Time{}, fmt.Errorf("spec.schedule: an interval must be longer than nothing")
		}
		return last.Add(time.Duration(interval)), nil
	}
	next, err := gronx.NextTickAfter(string(schedule), last.UTC(), false)
	if err != nil || len(strings.Fields(string(schedule))) != 5 {
		return time.Time{}, fmt.Errorf("spec.schedule: %q is neither an interval such as 1h nor a cron expression of five fields such as 0 3 * * *", schedule)
	}
	return next, nil
}
