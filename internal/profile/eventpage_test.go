package profile_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/profile"
)

// Every size of page gives each event once, in the same order, also where many happened in the same millisecond and came
// in the same message.
func TestPagesOfEvents(t *testing.T) {
	conn := fixture(t)
	exec(t, conn, `INSERT INTO events (event, type, profile, occurred, received, message_id, source, party, properties, context, seq)
		SELECT if(number % 2, 'Odd', 'Ev\'en\\'), 'track', if(number % 3, 2, 5), '2026-02-01 00:00:00', '2026-02-01 00:00:00', concat('x\\t', toString(number)), 'web', 'First', '{}', '{}', intDiv(number, 4) FROM numbers(12)`)
	read := func(page profile.EventPage) (ids []string) {
		t.Helper()
		for range 30 {
			got, err := profile.Read(t.Context(), conn, "anonymousId", "a", profile.Want{Events: page})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Events) == 0 {
				return ids
			}
			for _, e := range got.Events {
				ids = append(ids, e.MessageID)
			}
			after, err := profile.ParseCursor(profile.At(got.Events[len(got.Events)-1]).String())
			if err != nil {
				t.Fatal(err)
			}
			page.After = after
		}
		t.Fatal("pages without end")
		return nil
	}
	all := read(profile.EventPage{Limit: 100})
	if len(all) != 14 {
		t.Fatalf("%d events, want 14: %q", len(all), all)
	}
	for limit := 1; limit < 15; limit++ {
		if diff := cmp.Diff(all, read(profile.EventPage{Limit: limit})); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	for _, c := range []struct {
		page profile.EventPage
		want int
	}{
		{profile.EventPage{Limit: 2, Name: "Odd"}, 6},
		{profile.EventPage{Limit: 5, Name: `Ev'en\`}, 6},
		{profile.EventPage{Limit: 5, Name: "Nothing"}, 0},
		// What somebody makes up is no fault of the warehouse's.
		{profile.EventPage{Limit: 5, After: profile.Cursor{Occurred: math.MinInt64, Seq: 1}}, 0},
		{profile.EventPage{Limit: 5, After: profile.Cursor{Occurred: math.MaxInt64, Seq: 1<<64 - 1}}, 14},
		{profile.EventPage{Limit: 5, Since: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, 0},
		{profile.EventPage{Limit: 3, Since: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}, 13},
		{profile.EventPage{Limit: 3, Name: "Seen", Since: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}, 1},
	} {
		if got := read(c.page); len(got) != c.want {
			t.Errorf("%+v gives %q, want %d", c.page, got, c.want)
		}
	}
}

func TestParseCursor(t *testing.T) {
	want := profile.Cursor{Occurred: -5, Seq: 1<<64 - 1, MessageID: "a b\x00c"}
	if got, err := profile.ParseCursor(want.String()); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "!", "YQ", fmt.Sprint(1 << 60), "YSBiIGM"} {
		if _, err := profile.ParseCursor(text); !errors.Is(err, profile.ErrBadCursor) {
			t.Errorf("%q gave %v", text, err)
		}
	}
}
