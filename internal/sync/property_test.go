package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// bad is the value of a trait that the receiver refuses a row for.
const bad = `"bad"`

// model is the naive idea of what the warehouse was told.
type model struct {
	base      uint64 // first ordinal, so that schedules share a warehouse
	audience  string
	people    map[uint64]person // by ordinal
	set       map[uint64]uint64 // when the trait of an ordinal was set
	into      map[uint64]uint64 // merged -> survivor
	entered   map[uint64]bool
	generated int
}

func (m *model) resolve(n uint64) uint64 {
	if survivor, ok := m.into[n]; ok {
		return survivor
	}
	return n
}

// members gives what the destination is to be sent of each member, by id.
func (m *model) members() map[string]destination.Operation {
	all := map[string]destination.Operation{}
	for n := range m.entered {
		whose := m.resolve(n)
		o := destination.Operation{Op: destination.OpUpsert, ID: m.people[whose].id.String(), Traits: map[string]json.RawMessage{"tariff": json.RawMessage("null")}}
		names, newest := identifiers{}, uint64(0)
		for other, p := range m.people {
			if m.resolve(other) != whose {
				continue
			}
			names = names.with(p.identifiers)
			if at := m.set[other]; at > newest {
				newest, o.Traits["tariff"] = at, json.RawMessage(p.traits["plan"])
			}
		}
		o.Identifiers = names
		all[o.ID] = o
	}
	return all
}

// survivors are the ordinals that were not merged away.
func (m *model) survivors() []uint64 {
	var all []uint64
	for n := range m.people {
		if m.resolve(n) == n {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// change does something at random to the model and tells the warehouse.
func (m *model) change(t *rapid.T, w *world) {
	n := rapid.SampledFrom(m.survivors()).Draw(t, "who")
	switch rapid.SampledFrom([]string{"enter", "enter", "leave", "trait", "trait", "merge", "id"}).Draw(t, "change") {
	case "enter":
		m.entered[n] = true
		w.membership(m.audience, 0, []uint64{n})
	case "leave":
		for other := range maps.Clone(m.entered) {
			if m.resolve(other) == n {
				delete(m.entered, other)
				w.membership(m.audience, 1, []uint64{other})
			}
		}
	case "trait":
		p := m.people[n]
		p.traits = map[string]string{"plan": rapid.SampledFrom([]string{`"free"`, `"pro"`, "3", bad, "null"}).Draw(t, "plan")}
		m.people[n] = p
		w.describe([]uint64{n}, []string{"plan"}, []string{p.traits["plan"]})
		m.set[n] = w.version
	case "merge":
		other := rapid.SampledFrom(m.survivors()).Draw(t, "into")
		if other == n {
			return
		}
		for merged, survivor := range m.into {
			if survivor == n { // the engine never lets an override point to a merged profile
				m.into[merged] = other
				w.merge(merged, other)
			}
		}
		m.into[n] = other
		w.merge(n, other)
	case "id":
		p := m.people[n]
		m.generated++
		p.id = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, m.base, m.generated))
		m.people[n] = p
		w.name([]uint64{n}, []uuid.UUID{p.id})
	}
}

// hostile is a receiver with moods. It also does what a tool without ids would: it holds identifiers.
type hostile struct {
	*receiver
	names map[identifier]bool
	moods []string // of the next requests; none left: well
}

func newHostile(t testing.TB) *hostile {
	h := &hostile{receiver: newReceiver(t)}
	h.reject = func(o destination.Operation) string {
		if string(o.Traits["tariff"]) == bad {
			return "BadTariff"
		}
		return ""
	}
	h.before = func(_ int, b body) (int, string) {
		if len(h.moods) == 0 {
			return 0, ""
		}
		switch h.moods[0] {
		case "down":
			return h.spent(http.StatusServiceUnavailable), ""
		case "limit":
			return h.spent(http.StatusTooManyRequests), ""
		case "whole": // as a receiver that names no row refuses
			if slices.ContainsFunc(b.Operations, func(o destination.Operation) bool { return string(o.Traits["tariff"]) == bad }) {
				return http.StatusUnprocessableEntity, `{"message":"bad tariff"}`
			}
		}
		return 0, ""
	}
	h.after = func(_ int, b body) int {
		if len(h.moods) > 0 && h.moods[0] == "half" { // taken, and the answer is an error
			return h.spent(http.StatusInternalServerError)
		}
		h.spent(0)
		return 0
	}
	return h
}

// spent ends the mood of a request.
func (h *hostile) spent(status int) int {
	if len(h.moods) > 0 {
		h.moods = h.moods[1:]
	}
	return status
}

// identifiersHeld replays what was taken as a tool would that knows no ids.
func identifiersHeld(names map[identifier]bool, log []destination.Operation) {
	for _, o := range log {
		for kind, values := range o.Identifiers {
			for _, value := range values {
				if o.Op == destination.OpRemove {
					delete(names, identifier{kind, value})
				} else {
					names[identifier{kind, value}] = true
				}
			}
		}
	}
}

// mortal lets the run die around a delivery, as a kill would: the goroutine ends, and nothing is recorded any more.
type mortal struct {
	destination.Destination
	left  int // deliveries until the end
	after bool
}

func (m *mortal) Deliver(ctx context.Context, b destination.Batch) ([]destination.Result, error) {
	m.left--
	if m.left == 0 && !m.after {
		runtime.Goexit()
	}
	results, err := m.Destination.Deliver(ctx, b)
	if m.left == 0 {
		runtime.Goexit()
	}
	return results, err
}

// attempt runs once and may be killed; it says whether the run succeeded.
func attempt(c Config) (report run.Report, ok bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		report, err = Run(context.Background(), c)
		ok = err == nil
	}()
	<-done
	return report, ok
}

// Whatever happens to memberships, payloads and deliveries: once runs succeed the receiver holds the members, and what
// is sent then is the difference and nothing more.
func TestAnyScheduleConverges(t *testing.T) {
	conn := warehousetest.Open(t)
	w, h := newWorld(t, conn), newHostile(t)
	base := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		base += 1000
		m := &model{base: base, audience: fmt.Sprint("a", base), people: map[uint64]person{}, set: map[uint64]uint64{}, into: map[uint64]uint64{}, entered: map[uint64]bool{}}
		first := people(base+1, base+uint64(rapid.IntRange(2, 14).Draw(rt, "people")))
		w.know(first...)
		for _, p := range first {
			m.people[p.profile], m.set[p.profile] = p, w.version
		}
		w.enter(m.audience, first[0].profile)
		m.entered[first[0].profile] = true
		h.members, h.names, h.moods = map[string]destination.Operation{}, map[identifier]bool{}, nil
		h.reset()

		c := config(t, conn, order(m.audience, h.URL))
		c.PageRows, c.Policy.Tries, c.Policy.Hopeless = 4, 2, 1000
		for range rapid.IntRange(1, 2).Draw(rt, "runs") {
			for range rapid.IntRange(0, 8).Draw(rt, "changes") {
				m.change(rt, w)
			}
			h.moods = rapid.SliceOfN(rapid.SampledFrom([]string{"well", "down", "limit", "half", "whole"}), 0, 6).Draw(rt, "moods")
			trial := c
			if die := rapid.IntRange(0, 4).Draw(rt, "die"); die > 0 {
				trial.Destination = &mortal{Destination: c.Destination, left: die, after: rapid.Bool().Draw(rt, "after")}
			}
			attempt(trial)
		}
		h.moods = nil
		check(rt, c, h, m)

		// From a settled state, a run sends the difference and nothing more.
		before := m.members()
		for range rapid.IntRange(0, 5).Draw(rt, "last changes") {
			m.change(rt, w)
		}
		after := m.members()
		h.reset()
		check(rt, c, h, m)
		if want := changes(before, after); h.rows > want {
			rt.Fatalf("%d rows were sent for a difference of %d", h.rows, want)
		}
		c.Order.Drain = true
		if report, ok := attempt(c); !ok || report.Members != 0 || len(h.held()) != 0 {
			rt.Fatalf("after a drain (%v, %+v) the receiver holds %v", ok, report, h.held())
		}
		identifiersHeld(h.names, h.log)
		if len(h.names) > 0 {
			rt.Fatalf("after a drain a tool that knows no ids holds %v", h.names)
		}
	})
}

// check runs and compares the receiver with the model.
func check(rt *rapid.T, c Config, h *hostile, m *model) {
	report, err := Run(context.Background(), c)
	if err != nil {
		rt.Fatalf("a run with a receiver that is well: %v", err)
	}
	want, held := m.members(), h.held()
	refused := int64(0)
	for id, o := range want {
		if string(o.Traits["tariff"]) == bad { // it holds what it held before, or nothing
			refused++
			delete(want, id)
			delete(held, id)
		}
	}
	if diff := cmp.Diff(want, held); diff != "" {
		rt.Fatalf("the receiver (-want +got):\n%s", diff)
	}
	// Whether the destination holds a row that was refused after a kill had left its addition open, nobody knows.
	holds := int64(len(h.held()))
	if report.Rejected != refused || report.Pending != 0 || report.Members < holds || report.Members > holds+refused {
		rt.Fatalf("report %+v, want %d rejected and %d members", report, refused, len(h.held()))
	}
	identifiersHeld(h.names, h.log)
	h.log = nil
	for _, o := range want {
		for kind, values := range o.Identifiers {
			for _, value := range values {
				if !h.names[identifier{kind, value}] {
					rt.Fatalf("a tool that knows no ids has lost %s %s of member %s", kind, value, o.ID)
				}
			}
		}
	}
}

// changes counts in how many ids two sets of members differ.
func changes(before, after map[string]destination.Operation) int {
	n := 0
	for id, o := range after {
		if old, ok := before[id]; !ok || !cmp.Equal(old, o) {
			n++
		}
	}
	for id := range before {
		if _, ok := after[id]; !ok {
			n++
		}
	}
	return n
}
