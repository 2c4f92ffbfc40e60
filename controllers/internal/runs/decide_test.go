package runs

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/schedule"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ran is a finished run that began some minutes before noon.
func ran(minutes int, result, order string) *Record {
	slot := metav1.NewTime(noon.Add(-time.Duration(minutes) * time.Minute))
	return &Record{Run: v1alpha1.Run{Name: "x-1", Slot: &slot, Finished: &slot, Result: result, Order: order}}
}

func TestDecide(t *testing.T) {
	const ok, failed = v1alpha1.RunSucceeded, v1alpha1.RunFailed
	running := ran(60, v1alpha1.RunRunning, "A")
	running.Active = true
	for _, c := range []struct {
		why            string
		schedule       string
		request        string
		handled        string
		change, repair bool
		newest         *Record
		name           string // of the run to start; empty for none
		slot           time.Duration
		next           time.Duration // after noon; 0 for none
	}{
		{why: "a change, and the first run is one", change: true, name: "x-ca5b3d27a"},
		{why: "nothing to do without a schedule, once it is done", change: true, newest: ran(5, ok, "A")},
		{why: "nor once it has failed: the Job has tried for ten minutes", change: true, newest: ran(5, failed, "A")},
		{why: "a changed order", change: true, newest: ran(5, ok, "B"), name: "x-ca5b3d27a"},
		{why: "a changed order waits for its slot", schedule: "1h", repair: true, newest: ran(5, ok, "B"), next: 30 * time.Minute},
		{why: "unless the run before failed: then the change is a repair", schedule: "1h", repair: true, newest: ran(5, failed, "B"), name: "x-ca5b3d27a", next: 30 * time.Minute},
		{why: "a failure that nobody repaired waits for its slot", schedule: "1h", repair: true, newest: ran(5, failed, "A"), next: 30 * time.Minute},
		{why: "the slot of an interval", schedule: "1h", newest: ran(61, ok, "A"), name: "x-1795433400", slot: -30 * time.Minute, next: 30 * time.Minute},
		{why: "a slot is run once", schedule: "1h", newest: ran(30, ok, "A"), next: 30 * time.Minute},
		{why: "a run since the slot, whatever it was for, has done its work", schedule: "1h", newest: ran(29, ok, "A"), next: 30 * time.Minute},
		{why: "one at a time", schedule: "1h", request: "now", change: true, newest: running, next: 30 * time.Minute},
		{why: "a request goes first", schedule: "1h", request: "now", change: true, newest: ran(61, ok, "B"), name: "x-red5eb9a3", next: 30 * time.Minute},
		{why: "a request that was handled", schedule: "1h", request: "now", handled: "now", newest: ran(5, ok, "A"), next: 30 * time.Minute},
		{why: "a second request in the second of the first run gets a slot of its own", request: "now", newest: ran(0, ok, "A"), name: "x-red5eb9a3", slot: time.Second},
		{why: "a cron expression that has not come yet", schedule: "0 18 * * *", next: 6 * time.Hour},
		{why: "a cron expression whose time has come", schedule: "0 12 * * *", name: "x-1795435200", next: 24 * time.Hour},
	} {
		t.Run(c.why, func(t *testing.T) {
			wish := Wish{Owner: "x", Anchor: noon.Add(-150 * time.Minute), Request: c.request, Handled: c.handled, Order: "A", Version: "1", OnChange: c.change, OnRepair: c.repair}
			if c.schedule != "" {
				parsed, err := schedule.Parse(c.schedule, "")
				if err != nil {
					t.Fatal(err)
				}
				wish.Schedule = &parsed
			}
			decision := Decide(wish, c.newest, noon.Add(300*time.Millisecond))
			start, next := decision.Start, decision.Next
			switch {
			case (start == nil) != (c.name == ""):
				t.Fatalf("start = %+v, want %q", start, c.name)
			case start != nil && (start.Name != c.name || !start.Slot.Equal(noon.Add(c.slot))):
				t.Errorf("start = %s at %s, want %s at %s", start.Name, start.Slot, c.name, noon.Add(c.slot))
			}
			want := time.Time{}
			if c.next != 0 {
				want = noon.Add(c.next)
			}
			if !next.Equal(want) {
				t.Errorf("next = %s, want %s", next, want)
			}
		})
	}
}

// Hourly slots since 150 minutes before noon: at -150, -90 and -30 minutes.
func TestSlotsThatWereMissed(t *testing.T) {
	const ok, failed = v1alpha1.RunSucceeded, v1alpha1.RunFailed
	covered := func(minutes, from int, result string) *Record {
		r := ran(minutes, result, "A")
		at := metav1.NewTime(noon.Add(-time.Duration(from) * time.Minute))
		r.Run.From = &at
		return r
	}
	for _, c := range []struct {
		why      string
		deadline time.Duration
		all      bool
		request  string
		newest   *Record
		slot     int // minutes before noon; 0 for no run
		from     int
		missed   int
	}{
		{why: "the newest of three, and it covers its own time", slot: 30, from: 90},
		{why: "the newest covers the time of those that were missed", newest: ran(150, ok, "A"), slot: 30, from: 150},
		{why: "a run that failed is covered by the next", newest: covered(90, 150, failed), slot: 30, from: 150},
		{why: "one that succeeded is not", newest: covered(90, 150, ok), slot: 30, from: 90},
		{why: "late, and in time", deadline: 30 * time.Minute, newest: ran(90, ok, "A"), slot: 30, from: 90},
		{why: "too late", deadline: 29 * time.Minute, newest: ran(90, ok, "A"), missed: 30},
		{why: "too late, and nothing ran before", deadline: time.Minute, missed: 30},
		{why: "a run since then has covered it", deadline: time.Minute, newest: ran(5, ok, "A")},
		{why: "all, the oldest first", deadline: 24 * time.Hour, all: true, slot: 150, from: 210},
		{why: "all, the next one", deadline: 24 * time.Hour, all: true, newest: ran(150, ok, "A"), slot: 90, from: 150},
		{why: "all, and nothing is left", deadline: 24 * time.Hour, all: true, newest: ran(30, ok, "A")},
		{why: "all, but for those that are too old", deadline: 95 * time.Minute, all: true, newest: ran(150, ok, "A"), slot: 90, from: 150},
		{why: "all of those that are not, and the time of the others is covered", deadline: 80 * time.Minute, all: true, newest: ran(150, ok, "A"), slot: 30, from: 150, missed: 90},
		{why: "a request covers the time up to now", request: "now", newest: ran(90, ok, "A"), slot: -1, from: 90},
	} {
		parsed, err := schedule.Parse("1h", "")
		if err != nil {
			t.Fatal(err)
		}
		d := Decide(Wish{Owner: "x", Anchor: noon.Add(-150 * time.Minute), Schedule: &parsed, Order: "A", Request: c.request, Deadline: c.deadline, CatchUp: c.all, Intervals: true}, c.newest, noon)
		at := func(minutes int) time.Time {
			if minutes == 0 {
				return time.Time{}
			}
			return noon.Add(-time.Duration(max(minutes, 0)) * time.Minute)
		}
		var slot, from time.Time
		if d.Start != nil {
			slot, from = d.Start.Slot, d.Start.From
		}
		if !slot.Equal(at(c.slot)) || !from.Equal(at(c.from)) || !d.Missed.Equal(at(c.missed)) {
			t.Errorf("%s: slot %s from %s, missed %s", c.why, slot, from, d.Missed)
		}
	}
}

// Whatever fails and is missed, runs that succeed cover the time since the first one without gap or overlap.
func TestIntervalsAreContiguous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"1h", "7m", "0 * * * *", "*/20 9-17 * * *"}).Draw(t, "schedule")
		parsed, err := schedule.Parse(text, "")
		if err != nil {
			t.Fatal(err)
		}
		wish := Wish{Owner: "x", Anchor: noon, Schedule: &parsed, Order: "A", Intervals: true,
			CatchUp: rapid.Bool().Draw(t, "catch up"), Deadline: time.Duration(rapid.IntRange(0, 120).Draw(t, "deadline")) * time.Minute}
		now, end := noon, time.Time{}
		var newest *Record
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 9000).Draw(t, "seconds")) * time.Second)
			if rapid.IntRange(0, 9).Draw(t, "request") == 0 {
				wish.Request = now.String()
			}
			d := Decide(wish, newest, now)
			if d.Start == nil {
				continue
			}
			wish.Handled = d.Start.Request
			record := d.Start.Record("A", 1)
			record.Active, record.Run.Result = false, rapid.SampledFrom([]string{v1alpha1.RunSucceeded, v1alpha1.RunFailed}).Draw(t, "result")
			if !d.Start.From.Before(d.Start.Slot) || d.Start.Slot.After(now.Add(time.Minute)) {
				t.Fatalf("the run covers %s to %s", d.Start.From, d.Start.Slot)
			}
			if !end.IsZero() && !d.Start.From.Equal(end) {
				t.Fatalf("the run begins at %s; the time is covered up to %s", d.Start.From, end)
			}
			if end.IsZero() {
				end = d.Start.From // a first run that fails is covered too
			}
			if record.Run.Result == v1alpha1.RunSucceeded {
				end = d.Start.Slot
			}
			newest = &record
		}
	})
}

// A and B and A again are three changes: the third must not find the first one's Job.
func TestEveryChangeHasItsOwnName(t *testing.T) {
	names := map[string]bool{}
	for version, order := range map[string]string{"1": "A", "2": "B", "3": "A"} {
		start := Decide(Wish{Owner: "x", Order: order, Version: version, OnChange: true}, nil, noon).Start
		names[start.Name] = true
	}
	if len(names) != 3 {
		t.Errorf("names = %v", names)
	}
}

// Passes that see the same make the same run, also when the clock moves between them.
func TestAStartIsTheSameASecondLater(t *testing.T) {
	hourly, err := schedule.Parse("1h", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, wish := range []Wish{
		{Owner: "x", Order: "A", OnChange: true}, {Owner: "x", Request: "now"}, {Owner: "x", Anchor: noon.Add(-time.Minute), Schedule: &hourly},
	} {
		first := Decide(wish, nil, noon).Start
		second := Decide(wish, nil, noon.Add(time.Second)).Start
		if first.Name != second.Name {
			t.Errorf("%s and %s", first.Name, second.Name)
		}
	}
}
