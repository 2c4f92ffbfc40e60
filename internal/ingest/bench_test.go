package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// What a figure must reach on 2 cores, store and stream included.
const (
	goalEvents   = 100_000 // a second
	goalTimesRaw = 3       // the time of inserting the same rows without anything else
)

// load publishes n events of about 1 KB as collectors do: requests of 20, five to a message. One in twenty is an
// identify; events are those of visitors at random, and one in three visitors turns out to be a customer known before.
func load(t testing.TB, js jetstream.JetStream, n, visitors int) (messages uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	filler := strings.Repeat("lorem ipsum dolor ", 30)
	var m []byte
	for i := 0; i < n; {
		var body strings.Builder
		body.WriteString(`{"batch":[`)
		for k := range 20 {
			if k > 0 {
				body.WriteByte(',')
			}
			visitor := random.IntN(visitors)
			common := fmt.Sprintf(`"messageId":"node-%016x-%016x","timestamp":"2026-11-23T09:59:%02d.123Z","anonymousId":"visitor-%030d","context":{"library":{"name":"@segment/analytics-node","version":"2.1.3"},"locale":"de-DE","userAgent":"Mozilla/5.0 (X11; Linux x86_64)"}`,
				random.Uint64(), i, i%60, visitor)
			if i%20 == 0 {
				fmt.Fprintf(&body, `{"type":"identify",%s,"userId":"user-%d","traits":{"email":"user%d@example.com","plan":"pro","city":"Berlin","about":"%s"}}`, common, visitor*2/3, visitor*2/3, filler)
			} else {
				fmt.Fprintf(&body, `{"type":"track","event":"Product Viewed %d",%s,"properties":{"price":%d.5,"sku":"sku-%d","url":"https://shop.example/p/%d","description":"%s"}}`, i%30, common, random.IntN(300), random.IntN(5000), i, filler)
			}
			i++
		}
		body.WriteString(`],"sentAt":"2026-11-23T10:00:00.000Z"}`)
		m = stream.Append(m, stream.Record{Kind: stream.KindBatch, Received: epoch, Source: "web", Party: "First", Body: []byte(body.String())})
		if i%100 == 0 || i >= n {
			if _, err := js.PublishAsync(stream.Subject("web"), m); err != nil {
				t.Fatal(err)
			}
			m, messages = nil, messages+1
			if messages%100 == 0 {
				<-js.PublishAsyncComplete()
			}
		}
	}
	<-js.PublishAsyncComplete()
	return messages
}

// raw inserts the events of the stream into a table of their own, in batches as large as those of ingestion, and gives the time that the
// inserts took.
func raw(t testing.TB, js jetstream.JetStream, conn driver.Conn) time.Duration {
	t.Helper()
	if err := conn.Exec(t.Context(), "CREATE TABLE raw AS events"); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), streamName, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	var p event.Parsed
	flush := func() {
		began := time.Now()
		columns := eventRows(p.Events, make([]uint64, len(p.Events))).columns
		if err := warehouse.Insert(t.Context(), conn, "raw", "", columns...); err != nil {
			t.Fatal(err)
		}
		took, p = took+time.Since(began), event.Parsed{}
	}
	iterator, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer iterator.Stop()
	for left := true; left; {
		m, err := iterator.Next()
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		p.Add(event.Message{Seq: meta.Sequence.Stream, Data: m.Data()})
		left = meta.NumPending > 0
		if len(p.Events) >= defaultMaxEvents || !left {
			flush()
		}
	}
	return took
}

// BenchmarkFigureIngest measures events a second from the stream into the warehouse, all of identity and deduplication
// included, against a bare insert of the same rows into the same store.
func BenchmarkFigureIngest(b *testing.B) {
	const n = 400_000
	js := newStream(b)
	store := storetest.StartWarehouse(b, storewarehouse.Config{})
	conn := warehousetest.Connect(b, store.URL, storetest.User, storetest.Password)
	last := load(b, js, n, n/40)
	for b.Loop() {
		took := measured(b, js, conn, store, last, n)
		bare := raw(b, js, conn)
		rate, times := n/took.Seconds(), took.Seconds()/bare.Seconds()
		b.ReportMetric(n/bare.Seconds(), "raw-rows/s")
		figure("ingest", rate, "events/s", goalEvents, rate >= goalEvents)
		figure("ingest-times-raw", times, "times the bare insert", goalTimesRaw, times <= goalTimesRaw)
	}
}

// BenchmarkFigureIngestKnown is BenchmarkFigureIngest with the events of random ones of a million visitors, all of whom are
// known, so that nearly each is one to be looked up. They are some 670,000 customers.
func BenchmarkFigureIngestKnown(b *testing.B) {
	const n, visitors = 400_000, 1_000_000
	js := newStream(b)
	store := storetest.StartWarehouse(b, storewarehouse.Config{})
	conn := warehousetest.Connect(b, store.URL, storetest.User, storetest.Password)
	known := know(b, js, visitors)
	ingested(b, js, conn, known, func() {})
	last := known + load(b, js, n, visitors)
	for b.Loop() {
		rate := n / measured(b, js, conn, store, last, n).Seconds()
		figure("ingest-known", rate, "events/s", goalEvents, rate >= goalEvents)
	}
}

// know publishes one identify of each visitor.
func know(t testing.TB, js jetstream.JetStream, visitors int) (messages uint64) {
	t.Helper()
	for from := 0; from < visitors; from += 500 {
		body := []byte(`{"batch":[`)
		for i := from; i < from+500; i++ {
			if i > from {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"type":"identify","messageId":"known-%d","anonymousId":"visitor-%030d","userId":"user-%d","traits":{"email":"user%d@example.com"}}`, i, i, i*2/3, i*2/3)
		}
		m := stream.Append(nil, stream.Record{Kind: stream.KindBatch, Received: epoch, Source: "web", Party: "First", Body: append(body, `]}`...)})
		if _, err := js.Publish(t.Context(), stream.Subject("web"), m); err != nil {
			t.Fatal(err)
		}
		messages++
	}
	return messages
}

// measured ingests up to a message and gives the time that it took. It reports the processor time of n events, of the
// engine with the stream and of the warehouse: what is left of a figure on a machine that is busy with other things.
func measured(b *testing.B, js jetstream.JetStream, conn driver.Conn, store *storetest.Process, last uint64, n int) (took time.Duration) {
	b.Helper()
	began, own, its := time.Now(), storetest.CPU(b, os.Getpid()), storetest.CPU(b, store.Pid())
	stats := ingested(b, js, conn, last, func() {
		took = time.Since(began)
		own, its = storetest.CPU(b, os.Getpid())-own, storetest.CPU(b, store.Pid())-its
	})
	if stats.Stored != uint64(n) || stats.Failures != 0 {
		b.Fatalf("stats are %+v, want %d stored", stats, n)
	}
	b.ReportMetric(float64(n)/took.Seconds(), "events/s")
	b.ReportMetric(own.Seconds()*1e6/float64(n), "engine-cpu-µs/event")
	b.ReportMetric(its.Seconds()*1e6/float64(n), "warehouse-cpu-µs/event")
	return took
}

// ingested runs an ingestion until it has stored a message, and calls done then.
func ingested(b *testing.B, js jetstream.JetStream, conn driver.Conn, last uint64, done func()) Stats {
	b.Helper()
	i := New(Config{Conn: conn, JetStream: js, Rules: func() []identity.Rule {
		return []identity.Rule{
			{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "email", Limit: 5, Normalize: identity.Email},
			{Type: "anonymousId", Limit: 100, Normalize: identity.Exact},
		}
	}})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	for i.Stats().Done < last {
		time.Sleep(time.Millisecond)
	}
	done()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return i.Stats()
}

func figure(name string, value float64, unit string, goal float64, met bool) {
	verdict := "short"
	if met {
		verdict = "ok"
	}
	fmt.Printf("%s %.1f %s goal %.0f %s\n", name, value, unit, goal, verdict)
}
