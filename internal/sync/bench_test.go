package sync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
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
func sink(b *testing.B) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// deliverAll writes the state as if everybody had been delivered.
func deliverAll(w *world, c Config) {
	w.t.Helper()
	a := &audience{conn: w.conn, name: c.Order.Audience, types: c.Order.Identifiers, traits: c.Order.Traits, salt: saltOf(c.Order.Traits, c.Destination.Holder())}
	s := &state{conn: w.conn, sync: c.Order.Sync, now: c.Clock.Now, epoch: 1}
	var changes []change
	for m, err := range a.hashes(context.Background(), whole()) {
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

// What the figures have to reach (docs/performance.md).
const (
	goalDifference = 5.0    // seconds
	goalDelivery   = 10_000 // rows a second
)

// measured says whether a figure was asked for: KOHORT_FIGURE names one, or nothing for all.
func measured(b *testing.B) {
	if asked := os.Getenv("KOHORT_FIGURE"); asked != "" && asked != "sync" {
		b.Skipf("%s is measured", asked)
	}
}

// open starts a warehouse and gives the processor time that it and this process have used: what is left of a figure on a
// machine that is busy with other things. Source: proc(5), fields 14 and 15 of stat, in ticks of 10 ms.
func open(b *testing.B) (driver.Conn, func() time.Duration) {
	store := storetest.StartWarehouse(b, warehouse.Config{})
	used := func(pid int) (ticks time.Duration) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, field := range fields[11:13] {
			n, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			ticks += time.Duration(n) * 10 * time.Millisecond
		}
		return ticks
	}
	conn := warehousetest.Connect(b, store.URL, storetest.User, storetest.Password)
	return conn, func() time.Duration { return used(os.Getpid()) + used(store.Pid()) }
}

func figure(name string, value float64, unit string, goal float64, met bool) {
	verdict := "short"
	if met {
		verdict = "ok"
	}
	fmt.Printf("%s %.1f %s goal %.0f %s\n", name, value, unit, goal, verdict)
}

// BenchmarkFigureSync finds and delivers 1 % of changes in an audience of a million.
func BenchmarkFigureSync(b *testing.B) {
	measured(b)
	conn, cpu := open(b)
	w := newWorld(b, conn)
	populate(w)
	c := config(b, conn, order("vip", sink(b)))
	deliverAll(w, c)
	round := 0
	for b.Loop() {
		b.StopTimer()
		var profiles []uint64
		round++
		for n := uint64(1); n <= million; n += 100 {
			profiles = append(profiles, n)
		}
		w.describe(profiles, repeated("plan", len(profiles)), repeated(fmt.Sprintf(`"plan %d"`, round), len(profiles)))
		b.StartTimer()
		began, used := time.Now(), cpu()
		report := mustRun(b, c)
		took := time.Since(began).Seconds()
		b.ReportMetric((cpu() - used).Seconds(), "cpu-s/run")
		if report.Updated != million/100 {
			b.Fatalf("report %+v, want %d changes", report, million/100)
		}
		b.ReportMetric(took, "s/run")
		figure("sync", took, "s", goalDifference, took <= goalDifference)
	}
}

// BenchmarkFigureSyncDelivery delivers members to a local webhook for the first time.
func BenchmarkFigureSyncDelivery(b *testing.B) {
	measured(b)
	const members = 100_000
	conn, cpu := open(b)
	w := newWorld(b, conn)
	all := people(1, members)
	w.know(all...)
	url := sink(b)
	for b.Loop() {
		b.StopTimer()
		name := uuid.NewString()
		w.enter(name, ordinals(all)...)
		c := config(b, conn, order(name, url))
		b.StartTimer()
		began, used := time.Now(), cpu()
		report := mustRun(b, c)
		b.ReportMetric((cpu()-used).Seconds()*1e6/members, "cpu-µs/row")
		rate := members / time.Since(began).Seconds()
		if report.Added != members {
			b.Fatalf("report %+v, want %d additions", report, members)
		}
		b.ReportMetric(rate, "rows/s")
		figure("sync-delivery", rate, "rows/s", goalDelivery, rate >= goalDelivery)
	}
}
