package identity

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/event"
)

func defaults() []Rule {
	return []Rule{
		{Type: "userId", Unique: true, Limit: 1, Normalize: Exact}, {Type: "email", Limit: 2, Normalize: Email},
		{Type: "anonymousId", Limit: 3, Normalize: Exact},
	}
}

func unlimited() []Rule {
	rules := defaults()
	for i := range rules {
		rules[i].Unique, rules[i].Limit = false, 1_000_000
	}
	return rules
}

// windowed are defaults with limits by time: events are a second apart.
func windowed() []Rule {
	rules := defaults()
	rules[1].Limit, rules[1].Window = 1, 4*time.Second
	rules[2].Limit, rules[2].Window = 2, 7*time.Second
	return rules
}

// genEvents draws events over few identifiers, so that many meet.
func genEvents(t *rapid.T) []event.Event {
	values := map[string][]string{"userId": {"u1", "u2", "u3"}, "email": {"a@x", "b@x", "c@x", "d@x"}, "anonymousId": {"1a", "2a", "3a", "4a", "5a", "6a"}}
	kind := rapid.SampledFrom([]string{"userId", "email", "anonymousId"})
	n := rapid.IntRange(1, 40).Draw(t, "events")
	events := make([]event.Event, n)
	for i := range events {
		ids := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Identifier {
			k := kind.Draw(t, "type")
			return id(k, rapid.SampledFrom(values[k]).Draw(t, "value"))
		}), 1, 4).Draw(t, "identifiers")
		events[i] = seen(i, ids...)
	}
	return events
}

// genCuts draws how many events each batch has.
func genCuts(t *rapid.T, n int) []int {
	var cuts []int
	for n > 0 {
		k := rapid.IntRange(1, n).Draw(t, "batch")
		cuts, n = append(cuts, k), n-k
	}
	return cuts
}

type tester interface {
	Context() context.Context
	Helper()
	Fatalf(string, ...any)
}

// run resolves events in batches of the given sizes, with caches of the given size, and calls after with what each made.
func run(t tester, rules []Rule, events []event.Event, cuts []int, cache int, after func(m *memory, b Batch, c Changes)) *memory {
	t.Helper()
	m := newMemory()
	r, err := newResolver(rules, m, cache, cache)
	if err != nil {
		t.Fatalf("%v", err)
	}
	first, next := uint64(1), uint64(1)
	for _, n := range cuts {
		b := Batch{First: first, Last: first + uint64(n) - 1, Next: next, Events: events[:n]}
		c, err := r.Resolve(t.Context(), b)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if after != nil {
			after(m, b, c)
		}
		m.apply(c, 3)
		events, first, next = events[n:], b.Last+1, c.Next
	}
	return m
}

func TestWithoutLimitsOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		want := components(unlimited(), events)
		shuffled := rapid.Permutation(append(slices.Clone(events), events[:len(events)/2]...)).Draw(t, "order")
		for _, order := range [][]event.Event{events, shuffled} {
			m := run(t, unlimited(), order, genCuts(t, len(order)), rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "cache"), nil)
			if diff := cmp.Diff(want, m.partition()); diff != "" {
				t.Fatalf("profiles differ from connected components (-want +got):\n%s", diff)
			}
		}
	})
}

func TestLimitsHold(t *testing.T) {
	rules := defaults()
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		run(t, rules, events, genCuts(t, len(events)), 2, func(m *memory, b Batch, c Changes) {
			m = m.clone()
			m.apply(c, 3)
			names := map[uuid.UUID]uint64{}
			for ordinal, row := range m.profiles {
				if m.root(ordinal) != ordinal {
					continue
				}
				if row.value.ID == uuid.Nil {
					t.Fatalf("profile %d has no id", ordinal)
				}
				if other, twice := names[row.value.ID]; twice {
					t.Fatalf("profiles %d and %d have one id", ordinal, other)
				}
				names[row.value.ID] = ordinal
			}
			for name, ids := range m.partition() {
				counts := map[string]int{}
				for _, id := range ids {
					counts[id.Type]++
				}
				for _, r := range rules {
					if counts[r.Type] > r.limit() {
						t.Fatalf("profile %s has %d of %s, more than %d: %v", name, counts[r.Type], r.Type, r.limit(), ids)
					}
				}
			}
			for ordinal, o := range m.overrides {
				if _, merged := m.overrides[o.value.Survivor]; merged || o.value.Survivor >= ordinal {
					t.Fatalf("profile %d is said to be in %d, which is merged itself or younger", ordinal, o.value.Survivor)
				}
			}
			for i, ordinal := range c.Assigned {
				if ordinal == 0 || m.root(ordinal) != ordinal || m.profiles[ordinal].value.ID == uuid.Nil {
					t.Fatalf("event %d of %d…%d belongs to profile %d, which is none or was merged", i, b.First, b.Last, ordinal)
				}
			}
		})
	})
}

// A batch that was stored in part and is replayed by a new process comes to the very same rows.
func TestReplayIsTheSame(t *testing.T) {
	for _, rules := range [][]Rule{defaults(), unlimited(), windowed()} {
		rapid.Check(t, func(t *rapid.T) {
			events := genEvents(t)
			run(t, rules, events, genCuts(t, len(events)), 100, func(m *memory, b Batch, want Changes) {
				before := m.clone()
				before.apply(want, 3)
				for stored := range 4 {
					torn := m.clone()
					torn.apply(want, stored)
					r, err := newResolver(rules, torn, 2, 2)
					if err != nil {
						t.Fatalf("%v", err)
					}
					got, err := r.Resolve(t.Context(), b)
					if err != nil {
						t.Fatalf("%v", err)
					}
					if diff := cmp.Diff(want.Assigned, got.Assigned); diff != "" {
						t.Fatalf("after %d tables events belong elsewhere (-first +replay):\n%s", stored, diff)
					}
					if want.Next != got.Next {
						t.Fatalf("after %d tables the next profile is %d, was %d", stored, got.Next, want.Next)
					}
					if diff := cmp.Diff([]any{want.Attached, want.Overrides}, []any{got.Attached, got.Overrides}, cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("after %d tables (-first +replay):\n%s", stored, diff)
					}
					torn.apply(got, 3)
					if diff := cmp.Diff(before, torn, cmp.AllowUnexported(memory{}, versioned[AttachedRow]{}, versioned[ProfileRow]{}, versioned[OverrideRow]{})); diff != "" {
						t.Fatalf("after %d tables the replay left other rows (-want +got):\n%s", stored, diff)
					}
				}
			})
		})
	}
}

// Caches that forget everything decide as those that forget nothing.
func TestCachesDecideNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		cuts := genCuts(t, len(events))
		var all [2][]Changes
		for i, cache := range []int{1, 1000} {
			run(t, defaults(), events, cuts, cache, func(_ *memory, _ Batch, c Changes) { all[i] = append(all[i], c) })
		}
		if diff := cmp.Diff(all[1], all[0], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changes (-large cache +small cache):\n%s", diff)
		}
	})
}

func TestMatching(t *testing.T) {
	u, email, anon := "userId", "email", "anonymousId"
	trait := func(e event.Event, name, json string) event.Event {
		e.Traits = append(e.Traits, event.Trait{Name: name, Value: json})
		return e
	}
	for _, c := range []struct {
		why    string
		events []event.Event
		want   []uint64 // ordinals of the events, after all of them
	}{
		{"a login ties the visitor to the user", []event.Event{seen(0, id(anon, "a")), seen(1, id(u, "u"), id(anon, "a")), seen(2, id(u, "u"))}, []uint64{1, 1, 1}},
		{"two visitors turn out to be one user", []event.Event{seen(0, id(anon, "a")), seen(1, id(anon, "b")), seen(2, id(u, "u"), id(anon, "a")), seen(3, id(u, "u"), id(anon, "b"))}, []uint64{1, 1, 1, 1}},
		{"a device that two users log in on tells nobody apart: each user keeps a profile, and so do its guests", []event.Event{
			seen(0, id(anon, "a")), seen(1, id(u, "u"), id(anon, "a")), seen(2, id(anon, "a")), seen(3, id(u, "v"), id(anon, "a")), seen(4, id(anon, "a")),
			seen(5, id(u, "u"), id(anon, "a")), seen(6, id(u, "w"), id(anon, "a")), trait(seen(7, id(anon, "a")), email, `"new@x.org"`), seen(8, id(anon, "a"))}, []uint64{1, 1, 1, 2, 3, 1, 4, 5, 3}},
		{"a second anonymous id of a user makes no device a shared one", []event.Event{seen(0, id(anon, "b")), seen(1, id(u, "u"), id(anon, "a")), seen(2, id(u, "u"), id(anon, "b")), seen(3, id(anon, "b"))}, []uint64{1, 1, 1, 1}},
		{"Segment's example: a second user id with the same e-mail", []event.Event{trait(seen(0, id(u, "abc123")), email, `"j@x.org"`), trait(seen(1, id(u, "abc456")), email, `"J@x.org "`), trait(seen(2), email, `"j@x.org"`)}, []uint64{1, 2, 1}},
		{"blocked and broken values identify nobody", []event.Event{seen(0, id(u, "null")), seen(1, id(u, "'Anonymous'")), seen(2, id(anon, "0000-0000")), trait(seen(3), email, `"nobody"`), trait(seen(4), email, `["a@b"]`), trait(seen(5), u, `"u"`)}, []uint64{0, 0, 0, 0, 0, 0}},
		{"a blocked value does not keep the others from matching", []event.Event{seen(0, id(u, "undefined"), id(anon, "a")), seen(1, id(anon, "a"))}, []uint64{1, 1}},
		{"the limit of three anonymous ids: the fourth is left out, and is somebody else", []event.Event{
			seen(0, id(u, "u"), id(anon, "1a")), seen(1, id(u, "u"), id(anon, "2a")), seen(2, id(u, "u"), id(anon, "3a")), seen(3, id(u, "u"), id(anon, "4a")), seen(4, id(anon, "4a"))}, []uint64{1, 1, 1, 1, 2}},
		{"an alias of an anonymous id", []event.Event{seen(0, id(anon, "a")), seen(1, id(u, "u"), event.Identifier{Type: u, Value: "a", Else: anon})}, []uint64{1, 1}},
		{"an alias of another user is refused: both are unique", []event.Event{seen(0, id(u, "v")), seen(1, id(u, "u"), event.Identifier{Type: u, Value: "v", Else: anon}), seen(2, id(u, "u"))}, []uint64{1, 2, 2}},
		{"two unique values in one event", []event.Event{seen(0, id(u, "u"), id(u, "v")), seen(1, id(u, "v"))}, []uint64{1, 2}},
	} {
		m := newMemory()
		r, err := NewResolver(defaults(), m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Resolve(t.Context(), Batch{First: 1, Last: 9, Next: 1, Events: c.events})
		if err != nil {
			t.Fatal(err)
		}
		// A profile that was made and merged within the batch leaves a gap in the ordinals and nothing else.
		if diff := cmp.Diff(c.want, dense(got.Assigned)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
	}
}

// dense numbers profiles in the order of their appearance.
func dense(ordinals []uint64) []uint64 {
	names := map[uint64]uint64{0: 0}
	out := make([]uint64, len(ordinals))
	for i, o := range ordinals {
		if _, ok := names[o]; !ok {
			names[o] = uint64(len(names))
		}
		out[i] = names[o]
	}
	return out
}

func TestIDIsStable(t *testing.T) {
	// uuid5(uuid5(NAMESPACE_DNS, "kohort.dev"), "userId:u1"), by Python. Destinations hold these ids: they must never change.
	if got, want := (Identifier{"userId", "u1"}).ID().String(), "9f874bb5-ca8b-5607-b5f1-6930c5114670"; got != want {
		t.Errorf("the id of userId u1 is %s, want %s", got, want)
	}
}

func TestBlocked(t *testing.T) {
	for _, value := range []string{"", "-", "0", "000-00", "00000000-0000-0000-0000-000000000000", "-1", "null", "NULL", `"null"`, "'guest'", "[object Object]", "NaN", "None", "true", "undefined", "Not_Authenticated", "distinct_id"} {
		if !IsBlocked(value) {
			t.Errorf("%q is not blocked", value)
		}
	}
	for _, value := range []string{"1", "a", "nullable", "00-1", "anonymous-1", "user@null.com", fmt.Sprintf("%050d1", 0)} {
		if IsBlocked(value) {
			t.Errorf("%q is blocked", value)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, rules := range [][]Rule{nil, {{Type: "", Normalize: Exact}}, {{Type: "a", Normalize: Exact}, {Type: "a", Normalize: Exact}}, {{Type: "a", Normalize: "Upper"}}} {
		if Check(rules) == nil {
			t.Errorf("%+v is taken", rules)
		}
	}
}
