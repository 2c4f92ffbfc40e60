package identity

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/event"
)

// What is stated of identity in docs/identity.md, beside what stands in resolve_test.go: that order does not matter,
// that limits hold, and that a replay is the same.

// The identifiers that workers of parts of the stream saw together, given to one worker, make its profiles.
func TestShardsTogetherAreOneWorker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		shards := make([][]event.Event, rapid.IntRange(1, 4).Draw(t, "shards"))
		for _, e := range events {
			i := rapid.IntRange(0, len(shards)-1).Draw(t, "shard")
			shards[i] = append(shards[i], e)
		}
		var together []event.Event
		for _, shard := range shards {
			if len(shard) == 0 {
				continue
			}
			m := run(t, unlimited(), shard, genCuts(t, len(shard)), 3, func(_ *memory, _ Batch, c Changes) {
				for _, edge := range c.Edges {
					together = append(together, seen(len(together), id(edge.A.Type, edge.A.Value), id(edge.B.Type, edge.B.Value)))
				}
			})
			for known := range m.identities {
				together = append(together, seen(len(together), id(known.Type, known.Value)))
			}
		}
		m := run(t, unlimited(), together, []int{len(together)}, 100, nil)
		if diff := cmp.Diff(components(unlimited(), events), m.partition()); diff != "" {
			t.Fatalf("shards differ from one worker (-one +shards):\n%s", diff)
		}
	})
}

// One more event brings profiles together, and never parts those that were one.
func TestMoreOnlyCoarsens(t *testing.T) {
	for _, rules := range [][]Rule{defaults(), unlimited(), windowed()} {
		rapid.Check(t, func(t *rapid.T) {
			events := genEvents(t)
			var before *memory
			run(t, rules, events, slices.Repeat([]int{1}, len(events)), 3, func(m *memory, _ Batch, c Changes) {
				before = m.clone()
				m = m.clone()
				m.apply(c, 3)
				for _, ids := range before.partition() {
					for _, other := range ids[1:] {
						if m.root(m.identities[ids[0]].value.Profile) != m.root(m.identities[other].value.Profile) {
							t.Fatalf("%v and %v were one and are parted", ids[0], other)
						}
					}
				}
			})
		})
	}
}

// An event that comes again at once changes nothing, whatever the rules.
func TestRepetitionChangesNothing(t *testing.T) {
	for _, rules := range [][]Rule{defaults(), unlimited(), windowed()} {
		rapid.Check(t, func(t *rapid.T) {
			events := genEvents(t)
			var twice []event.Event
			for _, e := range events {
				twice = append(twice, e, e)
			}
			once := run(t, rules, events, genCuts(t, len(events)), 3, nil).partition()
			got := run(t, rules, twice, genCuts(t, len(twice)), 3, nil).partition()
			if diff := cmp.Diff(once, got); diff != "" {
				t.Fatalf("repeated events differ (-once +twice):\n%s", diff)
			}
		})
	}
}

// Whatever the order of times, no span of a window sees a profile take more than the limit, no two unique values share
// a profile, and no profile outgrows the cap.
func TestWindowsAndCapHold(t *testing.T) {
	const most = 4
	rules := windowed()
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.Permutation(genEvents(t)).Draw(t, "order") // late ones too
		m := newMemory()
		r, err := newResolver(rules, m, 2, 2)
		if err != nil {
			t.Fatalf("%v", err)
		}
		r.most = most
		next := uint64(1)
		for i := range events {
			c, err := r.Resolve(t.Context(), Batch{First: uint64(i + 1), Last: uint64(i + 1), Next: next, Events: events[i : i+1]})
			if err != nil {
				t.Fatalf("%v", err)
			}
			m.apply(c, 3)
			next = c.Next
			for name, ids := range m.partition() {
				if len(ids) > most {
					t.Fatalf("profile %s has %d identifiers, at most %d are allowed: %v", name, len(ids), most, ids)
				}
				for rank, rule := range rules {
					var times []time.Time
					for _, id := range ids {
						if id.Type == rule.Type {
							times = append(times, m.identities[id].value.Since)
						}
					}
					for _, from := range times {
						n := 0
						for _, at := range times {
							if d := at.Sub(from); rule.Unique || (d >= 0 && d < rule.Window) {
								n++
							}
						}
						if n > rule.limit() {
							t.Fatalf("profile %s took %d of %s within %s, at most %d are allowed: %v (rank %d)", name, n, rule.Type, rule.Window, rule.limit(), ids, rank)
						}
					}
				}
			}
		}
	})
}

// A late event, older than any window, attaches to whom it names and takes nothing from anybody.
func TestLateEventsEvictNothing(t *testing.T) {
	rules := windowed()
	rapid.Check(t, func(t *rapid.T) {
		events := genEvents(t)
		m := run(t, rules, events, genCuts(t, len(events)), 3, nil)
		late := genEvents(t)[:1]
		late[0].Occurred = late[0].Occurred.AddDate(-1, 0, 0)
		before := m.clone()
		r, err := newResolver(rules, m, 3, 3)
		if err != nil {
			t.Fatalf("%v", err)
		}
		c, err := r.Resolve(t.Context(), Batch{First: 1000, Last: 1000, Next: 1000, Events: late})
		if err != nil {
			t.Fatalf("%v", err)
		}
		m.apply(c, 3)
		for id, row := range before.identities {
			if diff := cmp.Diff(row, m.identities[id], cmp.AllowUnexported(versioned[AttachedRow]{}), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("a late event moved %v:\n%s", id, diff)
			}
		}
	})
}

// Blocked values and incomplete compositions are never identifiers.
func TestBlockedValuesAreNoIdentifiers(t *testing.T) {
	rules := []Rule{
		{Type: "userId", Unique: true, Limit: 1, Normalize: Exact, Blocked: []string{"test"}},
		{Type: "person", Limit: 1, Compose: []string{"name", "born"}, Normalize: Exact},
		{Type: "anonymousId", Limit: 5, Normalize: Exact},
	}
	value := rapid.SampledFrom([]string{"", "null", "test", "0", "Anonymous", "a", "b"})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "events")
		events := make([]event.Event, n)
		for i := range events {
			events[i] = seen(i, id("userId", value.Draw(t, "user")), id("anonymousId", value.Draw(t, "device")))
			for _, name := range []string{"name", "born"} {
				events[i].Traits = append(events[i].Traits, event.Trait{Name: name, Value: `"` + value.Draw(t, name) + `"`})
			}
		}
		m := run(t, rules, events, genCuts(t, n), 3, nil)
		for id := range m.identities {
			bad := IsBlocked(id.Value) || id.Value == "test" && id.Type == "userId"
			if id.Type == "person" {
				bad = !slices.Contains([]string{"a|a", "a|b", "b|a", "b|b", "test|a", "test|b", "a|test", "b|test", "test|test"}, id.Value)
			}
			if bad {
				t.Fatalf("%v became an identifier", id)
			}
		}
	})
}
