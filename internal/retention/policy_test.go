package retention

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
)

func policyOf(age v1alpha1.Duration, change ...func(*v1alpha1.RetentionPolicy)) *v1alpha1.RetentionPolicy {
	p := &v1alpha1.RetentionPolicy{}
	p.Spec.MaxAge = age
	p.Spec.Select.Data = []v1alpha1.RetentionData{v1alpha1.RetainEvents}
	for _, c := range change {
		c(p)
	}
	return p
}

func mustRead(t testing.TB, p *v1alpha1.RetentionPolicy) Policy {
	t.Helper()
	out, err := Read(p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func utc(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05.000", text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestCutoff(t *testing.T) {
	for _, c := range []struct {
		why      string
		age      v1alpha1.Duration
		row, now string
		due      bool
	}{
		{"its age is reached at noon, and the day is not over", "30d", "2026-10-01 12:00:00.000", "2026-10-31 23:59:59.999", false},
		{"the midnight after", "30d", "2026-10-01 12:00:00.000", "2026-11-01 00:00:00.000", true},
		{"the first millisecond of a day waits as long as the last", "30d", "2026-10-01 00:00:00.000", "2026-10-31 23:59:59.999", false},
		{"and both go at the same midnight", "30d", "2026-10-01 23:59:59.999", "2026-11-01 00:00:00.000", true},
		{"a millisecond later is another day", "30d", "2026-10-02 00:00:00.000", "2026-11-01 00:00:00.000", false},
		{"an age in hours ends at midnight too", "12h", "2026-11-23 11:59:59.999", "2026-11-24 00:00:00.000", true},
		{"an age in hours that is reached on the next day", "12h", "2026-11-23 12:00:00.000", "2026-11-24 23:59:59.999", false},
	} {
		p := mustRead(t, policyOf(c.age))
		if got := utc(c.row).Before(p.Cutoff(utc(c.now))); got != c.due {
			t.Errorf("%s: a row of %s kept %s is due at %s: %v, want %v", c.why, c.row, c.age, c.now, got, c.due)
		}
	}
}

// The cutoff is a rewritten form of the definition; both must say the same for any row.
func TestCutoffIsTheDefinition(t *testing.T) {
	day := func(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }
	rapid.Check(t, func(r *rapid.T) {
		now := time.UnixMilli(rapid.Int64Range(1e12, 2e12).Draw(r, "now")).UTC()
		age := time.Duration(rapid.Int64Range(1, 4000).Draw(r, "hours")) * time.Hour
		row := now.Add(-age).Add(time.Duration(rapid.Int64Range(-3*86400_000, 3*86400_000).Draw(r, "ms")) * time.Millisecond)
		p := Policy{maxAge: age}
		want := !day(row.Add(age)).Add(24 * time.Hour).After(now)
		if got := row.Before(p.Cutoff(now)); got != want {
			r.Fatalf("row %s age %s now %s: due %v, want %v", row, age, now, got, want)
		}
	})
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		why, says string
		policy    *v1alpha1.RetentionPolicy
	}{
		{"no duration", "spec.maxAge", policyOf("a year")},
		{"no time at all would delete everything", "spec.maxAge", policyOf("0d")},
		{"unknown data", "spec.select.data", policyOf("1d", func(p *v1alpha1.RetentionPolicy) { p.Spec.Select.Data = []v1alpha1.RetentionData{"Profiles"} })},
		{"nothing", "spec.select.data", policyOf("1d", func(p *v1alpha1.RetentionPolicy) { p.Spec.Select.Data = nil })},
		{"quarantine by the time it happened", "spec.from", policyOf("1d", func(p *v1alpha1.RetentionPolicy) {
			p.Spec.Select.Data, p.Spec.From = []v1alpha1.RetentionData{v1alpha1.RetainQuarantine}, v1alpha1.FromOccurred
		})},
		{"quarantine by name", "spec.select.events", policyOf("1d", func(p *v1alpha1.RetentionPolicy) {
			p.Spec.Select.Data, p.Spec.Select.Events = []v1alpha1.RetentionData{v1alpha1.RetainQuarantine}, []string{"x"}
		})},
	} {
		if _, err := Read(c.policy); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a message about %s", c.why, err, c.says)
		}
	}
}

func TestNext(t *testing.T) {
	last := utc("2026-11-23 12:34:56.000")
	for schedule, want := range map[v1alpha1.Schedule]string{
		"1h":        "2026-11-23 13:34:56.000",
		"0 3 * * *": "2026-11-24 03:00:00.000",
	} {
		next, err := Next(schedule, last)
		if err != nil || !next.Equal(utc(want)) {
			t.Errorf("%s: %v %v, want %s", schedule, next, err, want)
		}
	}
	for _, schedule := range []v1alpha1.Schedule{"0s", "sometimes", "61 * * * *", "@hourly", "0 0 3 * * *"} {
		if _, err := Next(schedule, last); err == nil {
			t.Errorf("%s was taken", schedule)
		}
	}
}
