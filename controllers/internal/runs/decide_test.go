package runs

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
			start, next := Decide(wish, c.newest, noon.Add(300*time.Millisecond))
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

// A and B and A again are three changes: the third must not find the first one's Job.
func TestEveryChangeHasItsOwnName(t *testing.T) {
	names := map[string]bool{}
	for version, order := range map[string]string{"1": "A", "2": "B", "3": "A"} {
		start, _ := Decide(Wish{Owner: "x", Order: order, Version: version, OnChange: true}, nil, noon)
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
		first, _ := Decide(wish, nil, noon)
		second, _ := Decide(wish, nil, noon.Add(time.Second))
		if first.Name != second.Name {
			t.Errorf("%s and %s", first.Name, second.Name)
		}
	}
}
