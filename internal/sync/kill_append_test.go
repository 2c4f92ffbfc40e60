package sync

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// taken is an entry as a receiver knows it.
type taken struct {
	id    string
	entry uint64
}

// A run of Append that is killed at any moment loses no entry, takes nobody out, and what the receiver gets twice is one
// page, under the same key and with the same numbers.
func TestKilledAppendsSendEachEntry(t *testing.T) {
	const rounds = 8
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	url, user, password := storetest.Warehouse(t)
	conn := warehousetest.Connect(t, url, user, password)
	w, r := newWorld(t, conn), newReceiver(t)
	told := childOrder{URL: url, Credentials: warehousetest.Credentials(t, user, password), Order: order("vip", r.URL)}
	told.Order.Mode = ModeAppend
	model := map[uint64]person{}
	entries := map[string]int{} // by id, how often they entered
	seen := map[taken]int{}
	killed := 0
	for round := range rounds {
		before := maps.Clone(model)
		disturb(w, model, random, uint64(round))
		var again []uint64
		for n, p := range before { // of those who left in this round some have come again at once, which is another entry
			if _, stays := model[n]; !stays && random.IntN(3) == 0 {
				again, model[n] = append(again, n), p
				entries[p.id.String()]++
			}
		}
		for n, p := range model {
			if _, was := before[n]; !was {
				entries[p.id.String()]++
			}
		}
		if len(again) > 0 {
			w.enter("vip", again...)
		}
		told.Order.Slot = start.Add(time.Duration(round) * time.Hour)
		r.reset()
		killed += killOnce(t, r, told, random)
		mustRun(t, config(t, conn, told.Order))
		repeated := 0
		for _, o := range r.log {
			if o.Op != destination.OpUpsert || o.Entry == 0 {
				t.Fatalf("round %d: Append sent %+v", round, o)
			}
			if seen[taken{o.ID, o.Entry}]++; seen[taken{o.ID, o.Entry}] > 1 {
				repeated++
			}
		}
		keys := slices.Clone(r.keys)
		slices.Sort(keys)
		replays := len(keys) - len(slices.Compact(keys))
		if repeated > maxPageRows || (repeated > 0) != (replays > 0) {
			t.Errorf("round %d: %d entries came twice in %d requests whose key had been seen", round, repeated, replays)
		}
		distinct := map[string]int{}
		for e := range seen {
			distinct[e.id]++
		}
		for id, n := range entries {
			if distinct[id] != n {
				t.Fatalf("round %d: %s entered %d times, and %d entries arrived", round, id, n, distinct[id])
			}
		}
		r.reset()
		if mustRun(t, config(t, conn, told.Order)); r.requests > 0 {
			t.Errorf("round %d: a run with nothing to do sent %d requests", round, r.requests)
		}
	}
	if killed < rounds/2 {
		t.Errorf("only %d of %d runs were killed before they ended: the test shows nothing", killed, rounds)
	}
}
