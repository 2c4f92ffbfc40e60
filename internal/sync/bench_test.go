package sync

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// million is the size of the audience in the benchmarks.
const million = 1_000_000

// populate makes a million customers with two identifiers and one trait each, all of them members.
func populate(w *world) {
	const block = 100_000
	for first := uint64(1); first <= million; first += block {
		all := people(first, first+block-1)
		w.know(all...)
		w.enter("vip", ordinals(all)...)
	}
}

// sink is a receiver that takes everything at once.
func sink(b *testing.B) (url string, rows *int) {
	rows = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(server.Close)
	return server.URL, rows
}

// deliverAll writes the state as if everybody had been delivered.
func deliverAll(w *world, c Config) {
	w.t.Helper()
	a := &audience{conn: w.conn, name: c.Order.Audience, types: c.Order.Identifiers, traits: c.Order.Traits, salt: saltOf(c.Order.Traits, c.Destination.Holder())}
	s := &state{conn: w.conn, sync: c.Order.Sync, now: c.Clock.Now, epoch: 1}
	var changes []change
	for m, err := range a.hashes(context.Background(), span{"0", end}) {
		if err != nil {
			w.t.Fatal(err)
		}
		changes = append(changes, change{heldRow: heldRow{id: m.id, payload: m.payload, status: statusDelivered, version: s.version(),
			identifiers: someone(m.profile).identifiers}})
		if len(changes) == 100_000 {
			if err := s.save(context.Background(), changes); err != nil {
				w.t.Fatal(err)
			}
			changes = nil
		}
	}
	if err := s.save(context.Background(), changes); err != nil {
		w.t.Fatal(err)
	}
}

// BenchmarkDifference finds and delivers 1 % of changes in an audience of a million.
func BenchmarkDifference(b *testing.B) {
	conn := warehousetest.Open(b)
	w := newWorld(b, conn)
	populate(w)
	url, _ := sink(b)
	c := config(b, conn, order("vip", url))
	deliverAll(w, c)
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		var changed []person
		for n := uint64(1); n <= million; n += 100 {
			p := someone(n)
			p.traits["plan"] = fmt.Sprintf(`"plan %d"`, round)
			changed = append(changed, p)
		}
		w.know(changed...)
		b.StartTimer()
		if report := mustRun(b, c); report.Updated != million/100 {
			b.Fatalf("report %+v, want %d changes", report, million/100)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/run")
}

// BenchmarkDelivery delivers members to a local webhook for the first time.
func BenchmarkDelivery(b *testing.B) {
	const members = 100_000
	conn := warehousetest.Open(b)
	w := newWorld(b, conn)
	all := people(1, members)
	w.know(all...)
	url, _ := sink(b)
	for b.Loop() {
		b.StopTimer()
		name := uuid.NewString()
		w.enter(name, ordinals(all)...)
		c := config(b, conn, order(name, url))
		b.StartTimer()
		if report := mustRun(b, c); report.Added != members {
			b.Fatalf("report %+v, want %d additions", report, members)
		}
	}
	b.ReportMetric(members*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
