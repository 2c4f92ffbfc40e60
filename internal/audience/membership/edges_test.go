package membership

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// Every edge of every question about time, to the millisecond: what random data hits too seldom to tell < from <=.
func TestEdgesOfTime(t *testing.T) {
	const ms, day = time.Millisecond, 24 * time.Hour
	conn := warehousetest.Open(t)
	now := noon

	// Profiles 1 to 9 have the moment as a trait, and as the property of an event; 11 to 22 have an event at the moment.
	moments := []time.Duration{-30*day - ms, -30 * day, -30*day + ms, -ms, 0, ms, 30 * day, 30*day + ms, 12*time.Hour - ms}
	var traits, events []string
	insert := func(name string, profile int, at time.Time, properties string) {
		events = append(events, fmt.Sprintf("('%s', %d, fromUnixTimestamp64Milli(%d, 'UTC'), now(), '%s')", name, profile, at.UnixMilli(), properties))
	}
	for i, offset := range moments {
		text := now.Add(offset).Format("2006-01-02T15:04:05.000Z07:00")
		traits = append(traits, fmt.Sprintf(`(%d, 'renews', '"%s"', now(), 1)`, i+1, text))
		insert("Promised", i+1, now.Add(-time.Hour), `{"renews":"`+text+`"}`)
	}
	ages := []time.Duration{0, -ms, ms, 30*day - ms, 30 * day, 30*day + ms, 90*day - ms, 90 * day, 90*day + ms}
	for i, age := range ages {
		insert("Seen", 11+i, now.Add(-age), "{}")
	}
	// Steps: first and last are exactly an hour apart, a millisecond more, at one moment, in the other order; then with
	// something between them; and 36 begins again, which leaves the hour.
	begun := now.Add(-10 * day)
	steps := func(profile int, offsets map[string][]time.Duration) {
		for name, list := range offsets {
			for _, offset := range list {
				insert(name, profile, begun.Add(offset), "{}")
			}
		}
	}
	steps(31, map[string][]time.Duration{"First": {0}, "Last": {time.Hour}})
	steps(32, map[string][]time.Duration{"First": {0}, "Last": {time.Hour + ms}})
	steps(33, map[string][]time.Duration{"First": {0}, "Last": {0}})
	steps(34, map[string][]time.Duration{"First": {ms}, "Last": {0}})
	steps(35, map[string][]time.Duration{"First": {0, ms}, "Last": {2 * ms}})
	steps(36, map[string][]time.Duration{"First": {0, 2 * ms}, "Last": {time.Hour + ms}})
	exec(t, conn, "INSERT INTO traits (profile, name, value, occurred, seq) VALUES "+strings.Join(traits, ", "))
	exec(t, conn, "INSERT INTO events (event, profile, occurred, received, properties) VALUES "+strings.Join(events, ", "))

	trait := func(operator v1alpha1.Operator, value string) v1alpha1.Criterion {
		return v1alpha1.Criterion{Trait: &v1alpha1.TraitCriterion{Name: "renews", Operator: operator, Values: []apiextensionsv1.JSON{{Raw: []byte(`"` + value + `"`)}}}}
	}
	seen := func(within v1alpha1.Duration, between *v1alpha1.Between) v1alpha1.Criterion {
		return v1alpha1.Criterion{Event: &v1alpha1.EventCriterion{Name: "Seen", Within: within, Between: between}}
	}
	sequence := func(window, within v1alpha1.Duration, strict bool) v1alpha1.Criterion {
		return v1alpha1.Criterion{Sequence: &v1alpha1.SequenceCriterion{
			Steps: []v1alpha1.SequenceStep{{Name: "First"}, {Name: "Last"}}, Window: window, Within: within, Strict: strict,
		}}
	}
	cases := []struct {
		why       string
		criterion v1alpha1.Criterion
		want      string
	}{
		{"less than 30 days ago, and not after now", trait(v1alpha1.OperatorWithinLast, "30d"), "[3,4,5]"},
		{"30 days ago or more", trait(v1alpha1.OperatorBeforeLast, "30d"), "[1,2]"},
		{"after now, up to 30 days", trait(v1alpha1.OperatorWithinNext, "30d"), "[6,7,9]"},
		{"more than 30 days ahead", trait(v1alpha1.OperatorAfterNext, "30d"), "[8]"},
		{"before a moment, and not at it", trait(v1alpha1.OperatorBefore, "2026-11-23T12:00:00Z"), "[1,2,3,4]"},
		{"after a moment, and not at it", trait(v1alpha1.OperatorAfter, "2026-11-23T13:00:00+01:00"), "[6,7,8,9]"},
		{"on a day of UTC, to its last millisecond", trait(v1alpha1.OperatorOn, "2026-11-23"), "[4,5,6,9]"},
		{"a window holds its end and not its beginning", seen("30d", nil), "[11,13,14]"},
		{"between ages is the rest of the longer window", seen("", &v1alpha1.Between{From: "90d", To: "30d"}), "[15,16,17]"},
		{"between dates: the first that counts, the first that does not", seen("", &v1alpha1.Between{From: "2026-10-24T12:00:00Z", To: "2026-11-23T12:00:00Z"}), "[13,14,15]"},
		{"an hour apart is within an hour; one moment is no order; a later beginning counts", sequence("1h", "", false), "[31,35,36]"},
		{"without a window only the order counts", sequence("", "", false), "[31,32,35,36]"},
		{"strict: only the last beginning is next to the end", sequence("1h", "", true), "[31,35,36]"},
		{"all steps lie within", sequence("", "10d", false), "[35,36]"},
	}
	var due []*v1alpha1.Audience
	want := map[string]string{}
	for i, c := range cases {
		a := buyers()
		a.Name = fmt.Sprintf("case-%02d", i)
		c.criterion.Name = "asked"
		a.Spec.Criteria = []v1alpha1.Criterion{c.criterion}
		due, want[c.why] = append(due, a), c.want
	}
	if _, err := New(conn).Evaluate(t.Context(), compiled(t, now, due...)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i, c := range cases {
		got[c.why] = text(t, conn, fmt.Sprintf("SELECT toString(arraySort(groupArray(profile))) FROM memberships FINAL WHERE audience = 'case-%02d'", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}

	// The same moments in an event's property.
	for i := range due[:7] {
		c := due[i].Spec.Criteria[0].Trait
		due[i].Spec.Criteria[0] = v1alpha1.Criterion{Name: "asked", Event: &v1alpha1.EventCriterion{
			Name: "Promised", Where: []v1alpha1.PropertyCondition{{Property: "renews", Operator: c.Operator, Values: c.Values}},
		}}
		due[i].Generation++
	}
	if _, err := New(conn).Evaluate(t.Context(), compiled(t, now, due...)); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		got[c.why] = text(t, conn, fmt.Sprintf("SELECT toString(arraySort(groupArray(profile))) FROM memberships FINAL WHERE audience = 'case-%02d'", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members by an event's property (-want +got):\n%s", diff)
	}
}
