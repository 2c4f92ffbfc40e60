package event_test

import (
	"fmt"
	"strings"
	"testing"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/stream"
)

// BenchmarkParse takes apart messages as the figure ingest has them: five batches of twenty events of 1 KB.
func BenchmarkParse(b *testing.B) {
	filler := strings.Repeat("lorem ipsum dolor ", 30)
	var m []byte
	for range 5 {
		var body strings.Builder
		body.WriteString(`{"batch":[`)
		for i := range 20 {
			if i > 0 {
				body.WriteByte(',')
			}
			common := fmt.Sprintf(`"messageId":"node-%016x-%016x","timestamp":"2026-11-23T09:59:%02d.123Z","anonymousId":"visitor-%030d","context":{"library":{"name":"@segment/analytics-node","version":"2.1.3"},"locale":"de-DE","userAgent":"Mozilla/5.0 (X11; Linux x86_64)"}`, i*7919, i, i, i)
			if i == 0 {
				fmt.Fprintf(&body, `{"type":"identify",%s,"userId":"user-%d","traits":{"email":"user%d@example.com","plan":"pro","city":"Berlin","about":"%s"}}`, common, i, i, filler)
			} else {
				fmt.Fprintf(&body, `{"type":"track","event":"Product Viewed %d",%s,"properties":{"price":%d.5,"sku":"sku-%d","url":"https://shop.example/p/%d","description":"%s"}}`, i, common, i, i, i, filler)
			}
		}
		body.WriteString(`],"sentAt":"2026-11-23T10:00:00.000Z"}`)
		m = stream.Append(m, stream.Record{Kind: stream.KindBatch, Received: received, Source: "web", Party: "First", Body: []byte(body.String())})
	}
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		p := event.Parsed{Events: make([]event.Event, 0, 100)}
		p.Add(event.Message{Seq: 1, Subject: "events.web", Stored: received, Data: m})
		if len(p.Events) != 100 {
			b.Fatal(len(p.Events))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
}
