package sync

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// bad is the value of a trait that the receiver refuses a row for.
const bad = `"bad"`

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

// Whatever happens to memberships, payloads and deliveries, in whatever modes the runs before were: once runs succeed the
// receiver has what the mode asks for, and what is sent then is the difference and nothing more.
func TestAnyScheduleConverges(t *testing.T) {
	conn := warehousetest.Open(t)
	w, h := newWorld(t, conn), newHostile(t)
	base := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		base += 1000
		mode := rapid.SampledFrom(modes).Draw(rt, "mode")
		m := newModel(base, w, rapid.IntRange(2, 14).Draw(rt, "people"))
		h.members, h.names, h.moods = map[string]destination.Operation{}, map[identifier]bool{}, nil
		h.reset()
		c := config(t, conn, order(m.audience, h.URL))
		c.Order.Suppress = []string{m.audience + "-not"}
		c.PageRows, c.Policy.Tries, c.Policy.Hopeless = 4, 2, 1000
		draw := rapid.SampledFrom(slices.Concat(modes, []string{mode, mode, mode, mode, mode, mode}))
		schedule(rt, c, w, h, m, draw)
		h.moods = nil
		c.Order.Mode = draw.Draw(rt, "mode of the first run that succeeds")
		check(rt, c, h, m)
		c.Order.Mode = mode
		check(rt, c, h, m)
		for range rapid.IntRange(0, 5).Draw(rt, "last changes") {
			m.change(rt, w)
		}
		check(rt, c, h, m)
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

// schedule runs once or twice with a receiver that has moods, and may kill the run.
func schedule(rt *rapid.T, c Config, w *world, h *hostile, m *model, mode *rapid.Generator[string]) {
	for range rapid.IntRange(1, 2).Draw(rt, "runs") {
		for range rapid.IntRange(0, 8).Draw(rt, "changes") {
			m.change(rt, w)
		}
		h.moods = rapid.SliceOfN(rapid.SampledFrom([]string{"well", "down", "limit", "half", "whole"}), 0, 6).Draw(rt, "moods")
		trial := c
		trial.Order.Mode = mode.Draw(rt, "mode")
		if die := rapid.IntRange(0, 4).Draw(rt, "die"); die > 0 {
			trial.Destination = &mortal{Destination: c.Destination, left: die, after: rapid.Bool().Draw(rt, "after")}
		}
		attempt(trial)
		m.learn(h)
	}
}

// check runs and compares the receiver with the model, and what was sent with what had to be.
func check(rt *rapid.T, c Config, h *hostile, m *model) {
	mode, before, bound := c.Order.Mode, h.held(), m.bound(c.Order.Mode, h.held())
	unknown, err := unknownRows(c)
	if err != nil {
		rt.Fatal(err)
	}
	h.reset()
	report, err := Run(context.Background(), c)
	if err != nil {
		rt.Fatalf("a %s run with a receiver that is well: %v", mode, err)
	}
	log := h.log
	m.learn(h)
	if h.rows > bound+int(unknown) {
		rt.Fatalf("%s: %d rows were sent for a difference of %d and %d of which nothing is known: %+v", mode, h.rows, bound, unknown, log)
	}
	want, held := m.members(), h.held()
	refused := 0 // who is not there as the mode asks for
	for id, o := range want {
		if complaint := m.complaint(mode, o, before, held, log); complaint == "" {
			continue
		} else if string(o.Traits["tariff"]) != bad {
			rt.Fatalf("%s: member %s %s; wanted %+v, held %+v", mode, id, complaint, o, held[id])
		}
		refused++
	}
	for id := range held {
		if m.mustGo(mode, id, want) {
			rt.Fatalf("%s: the receiver holds %s, who is no member or suppressed", mode, id)
		}
	}
	for _, o := range log {
		if o.Op == destination.OpRemove && !m.mustGo(mode, o.ID, want) {
			rt.Fatalf("%s took out %s: %+v", mode, o.ID, log)
		}
	}
	// Whether the destination holds a row that was refused after a kill had left its addition open, nobody knows.
	if int(report.Rejected) < refused || int(report.Rejected) > m.bad() || report.Pending != 0 {
		rt.Fatalf("%s: report %+v, want %d to %d rejected", mode, report, refused, m.bad())
	}
	if holds := int64(len(held)); report.Members > holds+int64(m.bad())+int64(unknown) ||
		(mode == ModeMirror || mode == ModeAddRemove) && report.Members < holds {
		rt.Fatalf("%s: report %+v, and the receiver holds %d", mode, report, holds)
	}
	for id, o := range want {
		for kind, values := range held[id].Identifiers {
			for _, value := range values {
				if slices.Contains(o.Identifiers[kind], value) && !h.names[identifier{kind, value}] {
					rt.Fatalf("%s: a tool that knows no ids has lost %s %s of member %s", mode, kind, value, id)
				}
			}
		}
	}
}

// unknownRows counts the rows of which nobody knows whether they are held: pending ones, and those that were refused after
// a kill had left their addition open.
func unknownRows(c Config) (n uint64, err error) {
	err = c.Warehouse.QueryRow(context.Background(), `SELECT countIf(status = 'pending' OR status = 'rejected' AND identifiers != '')
FROM sync_state FINAL WHERE sync = @sync AND profile_id < '`+behind+"'", clickhouse.Named("sync", c.Order.Sync)).Scan(&n)
	return n, err
}
