package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
)

const (
	// violatingSpan is the time that a status counts violations of.
	violatingSpan = 24 * time.Hour
	// violatingShown is how many ways of breaking a plan a status tells apart.
	violatingShown = 10
)

// planCount is what broke the plan of one Source.
type planCount struct {
	events map[string]int64 // by action
	ways   []v1alpha1.ViolationCount
}

// violating counts by Source what was received since a time.
func violating(ctx context.Context, conn driver.Conn, since time.Time) (map[string]planCount, error) {
	out := map[string]planCount{}
	from := fmt.Sprintf(" FROM violations WHERE received >= toDateTime64(%d, 3, 'UTC')", since.Unix())
	rows, err := conn.Query(ctx, "SELECT toString(source), toString(action), toInt64(sum(events))"+from+" GROUP BY source, action")
	if err != nil {
		return nil, fmt.Errorf("counting violations: %w", err)
	}
	for rows.Next() {
		var source, action string
		var n int64
		if err := rows.Scan(&source, &action, &n); err != nil {
			return nil, fmt.Errorf("counting violations: %w", errors.Join(err, rows.Close()))
		}
		if out[source].events == nil {
			out[source] = planCount{events: map[string]int64{}}
		}
		out[source].events[action] = n
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("counting violations: %w", err)
	}
	rows, err = conn.Query(ctx, "SELECT toString(source), toString(event), field, toString(rule), argMax(message, received), toInt64(sum(violations)) AS n, max(received)"+
		from+fmt.Sprintf(" GROUP BY source, event, field, rule ORDER BY n DESC, event, field, rule LIMIT %d BY source", violatingShown))
	if err != nil {
		return nil, fmt.Errorf("counting violations: %w", err)
	}
	for rows.Next() {
		var source string
		var way v1alpha1.ViolationCount
		var last time.Time
		if err := rows.Scan(&source, &way.Event, &way.Field, &way.Rule, &way.Message, &way.Count, &last); err != nil {
			return nil, fmt.Errorf("counting violations: %w", errors.Join(err, rows.Close()))
		}
		way.LastSeen = new(metav1.NewTime(last.Truncate(time.Second)))
		c := out[source]
		c.ways = append(c.ways, way)
		out[source] = c
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("counting violations: %w", err)
	}
	return out, nil
}

// planStatus tells how far the events of a Source follow its plan.
func planStatus(s *v1alpha1.Source, c planCount, status *v1alpha1.SourceStatus, now time.Time) {
	if s.Spec.TrackingPlan == nil {
		status.TrackingPlan = nil
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTrackingPlanFollowed)
		return
	}
	plan := &v1alpha1.TrackingPlanStatus{
		Quarantined: c.events[string(v1alpha1.ViolationQuarantine)], Dropped: c.events[string(v1alpha1.ViolationDrop)], Violations: c.ways,
	}
	for _, n := range c.events {
		plan.Violating += n
	}
	status.TrackingPlan = plan
	v := verdict{s.Generation, true, v1alpha1.ReasonTrackingPlanFollowed, "no event of the last 24 hours broke the tracking plan"}
	if plan.Violating > 0 { // without numbers: they change all the time
		v = verdict{s.Generation, false, v1alpha1.ReasonTrackingPlanViolated,
			"events of the last 24 hours broke the tracking plan: status.trackingPlan counts them by field, and kohort violations lists them"}
	}
	setCondition(&status.CommonStatus, v1alpha1.ConditionTrackingPlanFollowed, truth(v.ok), v, now)
}

// show sets the gauges of Sources to counts.
func (m *metrics) show(plans map[string]planCount) {
	m.violating.Reset()
	for source, c := range plans {
		for action, n := range c.events {
			m.violating.WithLabelValues(source, action).Set(float64(n))
		}
	}
}
