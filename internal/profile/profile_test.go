package profile_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// fixture is a customer, 2, into whom 5 was merged, and a stranger, 7.
func fixture(t *testing.T) driver.Conn {
	t.Helper()
	conn := warehousetest.Open(t)
	exec(t, conn,
		`INSERT INTO profiles (profile, id, rank, created, version) VALUES
			(2, '00000000-0000-0000-0000-00000000000a', 0, '2026-01-01 00:00:00', 9),
			(5, '00000000-0000-0000-0000-00000000000b', 0, '2026-01-02 00:00:00', 5), (7, '00000000-0000-0000-0000-00000000000c', 0, '2026-01-03 00:00:00', 7)`,
		`INSERT INTO profile_overrides (profile, survivor, version, parent, merged) VALUES (5, 2, 9, 2, 9)`,
		`INSERT INTO identities (profile, type, value, since, version) VALUES (2, 'anonymousId', 'a', '2026-01-01 00:00:00', 1), (5, 'userId', 'u\'\t\\', '2026-01-02 00:00:00', 5), (7, 'userId', 'v', '2026-01-03 00:00:00', 7)`,
		`INSERT INTO profile_identifiers (profile, type, value, since, version) SELECT profile, type, value, since, version FROM identities`,
		`INSERT INTO traits (profile, name, value, source, party, occurred, seq) VALUES
			(2, 'plan', '"free"', 'web', 'First', '2026-01-02 00:00:00', 2), (5, 'plan', '"pro"', 'crm', 'First', '2026-01-03 00:00:00', 1),
			(2, 'same', '1', 'web', 'First', '2026-01-02 00:00:00', 1), (5, 'same', '2', 'web', 'First', '2026-01-02 00:00:00', 3),
			(2, 'gone', '1', 'web', 'First', '2026-01-01 00:00:00', 1), (5, 'gone', 'null', 'web', 'First', '2026-01-02 00:00:00', 3),
			(7, 'plan', '"other"', 'web', 'First', '2026-01-09 00:00:00', 9)`,
		`INSERT INTO memberships (audience, profile, since, revision, deleted) VALUES ('vip', 2, '2026-01-05 00:00:00', 1, 0), ('left', 2, '2026-01-05 00:00:00', 2, 1), ('other', 7, '2026-01-05 00:00:00', 1, 0)`,
	)
	for i, p := range []int{2, 5, 7} {
		exec(t, conn, fmt.Sprintf(`INSERT INTO events (event, type, profile, occurred, received, message_id, source, party, properties, context, seq)
			VALUES ('Seen', 'track', %d, '2026-01-0%d 00:00:00', '2026-01-09 00:00:00', 'm%d', 'web', 'First', '{"n":%d}', '{}', %d)`, p, i+1, i, i, i))
	}
	return conn
}

func TestGet(t *testing.T) {
	conn := fixture(t)
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	seen := func(n, d int) profile.Event {
		return profile.Event{
			Name: "Seen", Type: "track", Occurred: day(d), Received: day(9), Source: "web", Party: "First",
			MessageID: fmt.Sprintf("m%d", n), Properties: []byte(fmt.Sprintf(`{"n":%d}`, n)), Seq: uint64(n),
		}
	}
	want := &profile.Profile{
		ID: "00000000-0000-0000-0000-00000000000a", Created: day(1), Ordinal: 2, Ordinals: []uint64{2, 5},
		Identifiers: map[string][]string{"anonymousId": {"a"}, "userId": {"u'\t\\"}},
		Traits: map[string]profile.Trait{
			"plan": {Value: []byte(`"pro"`), Source: "crm", Party: "First", Occurred: day(3)},
			"same": {Value: []byte(`2`), Source: "web", Party: "First", Occurred: day(2)},
		},
		Audiences: []profile.Audience{{Name: "vip", Since: day(5)}},
		Events:    []profile.Event{seen(1, 2), seen(0, 1)},
	}
	// Every identifier of a customer leads to the same, also the id of a profile that was merged into it.
	for _, id := range [][2]string{
		{"anonymousId", "a"}, {"userId", "u'\t\\"},
		{profile.ByID, "00000000-0000-0000-0000-00000000000A"}, {profile.ByID, "00000000-0000-0000-0000-00000000000b"},
	} {
		got, err := profile.Get(t.Context(), conn, id[0], id[1], 10)
		if err != nil {
			t.Errorf("%v: %v", id, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", id, diff)
		}
	}
	short, err := profile.Get(t.Context(), conn, "userId", "v", 0)
	if err != nil || len(short.Events) != 0 || short.Ordinal != 7 {
		t.Errorf("a stranger without events is %+v, %v", short, err)
	}
	for _, id := range [][2]string{{"userId", "nobody"}, {"anonymousId", "v"}, {profile.ByID, "no uuid"}, {"userId", "' OR 1=1 --"}} {
		if _, err := profile.Get(t.Context(), conn, id[0], id[1], 1); !errors.Is(err, profile.ErrNotFound) {
			t.Errorf("%v gave %v, want ErrNotFound", id, err)
		}
	}
}

func TestJoinAndTraits(t *testing.T) {
	conn := fixture(t)
	list := func(query string) map[uint64]string {
		t.Helper()
		rows, err := conn.Query(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		out := map[uint64]string{}
		for rows.Next() {
			var p uint64
			var s string
			if err := rows.Scan(&p, &s); err != nil {
				t.Fatal(err)
			}
			out[p] = s
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	got := list(fmt.Sprintf("SELECT %s AS profile, toString(count()) FROM events AS e %s GROUP BY profile", profile.Root("e"), profile.Join("e")))
	if diff := cmp.Diff(map[uint64]string{2: "2", 7: "1"}, got); diff != "" {
		t.Errorf("events by customer (-want +got):\n%s", diff)
	}
	got = list("SELECT profile, arrayStringConcat(arraySort(groupArray(concat(name, '=', value))), ' ') FROM " + profile.Traits() + " GROUP BY profile")
	if diff := cmp.Diff(map[uint64]string{2: `plan="pro" same=2`, 7: `plan="other"`}, got); diff != "" {
		t.Errorf("traits by customer (-want +got):\n%s", diff)
	}
}

func TestFold(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	one := func(s int64, seq uint64, traits ...event.Trait) event.Event {
		return event.Event{Occurred: at(s), Seq: seq, Source: "web", Party: "First", Traits: traits}
	}
	events := []event.Event{
		one(5, 1, event.Trait{Name: "a", Value: "1"}, event.Trait{Name: "b", Value: "1"}, event.Trait{Name: "b", Value: "2"}),
		one(4, 2, event.Trait{Name: "a", Value: "2"}), // late: what is known is newer
		one(5, 3, event.Trait{Name: "b", Value: "null"}),
		one(9, 4, event.Trait{Name: "a", Value: "9"}), // of another customer
		one(9, 5, event.Trait{Name: "a", Value: "9"}), // of nobody
	}
	row := func(profile uint64, name, value string, s int64, seq uint64) profileRow {
		return profileRow{Profile: profile, Name: name, Value: value, Source: "web", Party: "First", Occurred: at(s), Seq: seq}
	}
	want := []profileRow{row(1, "a", "1", 5, 1), row(1, "b", "null", 5, 3), row(2, "a", "9", 9, 4)}
	if diff := cmp.Diff(want, profile.Fold(events, []uint64{1, 1, 1, 2, 0})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type profileRow = profile.TraitRow
