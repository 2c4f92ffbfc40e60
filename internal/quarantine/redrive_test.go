package quarantine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/quarantine"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/trackingplan"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// place is a real stream, a real warehouse and an ingestion between them whose tracking plan can be taken back.
type place struct {
	t      *testing.T
	js     jetstream.JetStream
	conn   driver.Conn
	ingest *ingest.Ingest
	strict atomic.Bool
	sent   uint64
	// mapping of the Source crm; empty for none.
	mapping string
}

// mapped is how the Source's records are mapped now.
func (p *place) mapped(r quarantine.Row) ([]byte, error) {
	if p.mapping == "" || r.Source != "crm" {
		return nil, fmt.Errorf("no mapping for %s", r.Source)
	}
	m, err := mapping.Compile(p.mapping)
	if err != nil {
		return nil, err
	}
	return m.Again(r.Record, r.Original)
}

func newPlace(t *testing.T) *place {
	t.Helper()
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	plan, err := trackingplan.Compile(&v1alpha1.TrackingPlan{
		Events:      []v1alpha1.PlannedEvent{{Name: "Order", Schema: &apiextensionsv1.JSON{Raw: []byte(`{"properties":{"total":{"type":"number"}}}`)}}},
		Traits:      &apiextensionsv1.JSON{Raw: []byte(`{"properties":{"age":{"type":"number"}}}`)},
		OnViolation: v1alpha1.ViolationQuarantine,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, js: js, conn: warehousetest.Open(t)}
	p.strict.Store(true)
	p.ingest = ingest.New(ingest.Config{
		Conn: p.conn, JetStream: js, Linger: 10 * time.Millisecond, Clock: func() time.Time { return noon.AddDate(0, 0, 60) },
		Rules: func() []identity.Rule {
			return []identity.Rule{{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}}
		},
		Terms: func() ingest.Terms {
			if !p.strict.Load() {
				return ingest.Terms{}
			}
			terms := ingest.SourceTerms{Plan: plan}
			return ingest.Terms{Sources: map[string]ingest.SourceTerms{"web": terms, "broker": terms}}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.ingest.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

// send publishes one message, and waits until all that the stream has is stored.
func (p *place) send(r ...stream.Record) {
	p.t.Helper()
	var m []byte
	for _, one := range r {
		one.Received = noon.Add(time.Duration(p.sent) * time.Minute)
		m = stream.Append(m, one)
	}
	if _, err := p.js.Publish(p.t.Context(), stream.Subject("web"), m); err != nil {
		p.t.Fatal(err)
	}
	p.sent++
	p.settle()
}

func (p *place) settle() {
	p.t.Helper()
	s, err := p.js.Stream(p.t.Context(), stream.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	last := s.CachedInfo().State.LastSeq
	for deadline := time.Now().Add(time.Minute); p.ingest.Stats().Done < last; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("message %d is not stored: %+v", last, p.ingest.Stats())
		}
	}
}

// redrive sends everything that the filter chooses, each page twice, as a client whose answer was lost would.
func (p *place) redrive(f quarantine.Filter) (sent int) {
	p.t.Helper()
	var from *quarantine.Place
	for pages := 0; pages < 100; pages++ {
		var page quarantine.Page
		for range 2 {
			var err error
			if page, err = quarantine.Redrive(p.t.Context(), p.conn, p.js, f, from, p.mapped); err != nil {
				p.t.Fatal(err)
			}
		}
		sent += page.Sent
		if page.Next == nil {
			p.settle()
			return sent
		}
		next, err := quarantine.ParsePlace(page.Next.String())
		if err != nil {
			p.t.Fatal(err)
		}
		from = &next
	}
	p.t.Fatal("a redrive that does not end")
	return sent
}

func (p *place) texts(query string) []string {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), query)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out := []string{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			p.t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

func record(source, party, body string) stream.Record {
	return stream.Record{Kind: stream.KindEvent, Source: source, Party: party, Body: []byte(body)}
}

func order(id, total string) string {
	return fmt.Sprintf(`{"type":"track","event":"Order","messageId":%q,"userId":"u","properties":{"total":%s}}`, id, total)
}

func TestRedrive(t *testing.T) {
	p := newPlace(t)
	p.send(record("web", "First", order("m1", `1`)), record("web", "First", order("m2", `"2"`)), record("web", "First", `{"type":"track","event":"Order","userId":"u","properties":{"total":"3"}}`))
	p.send(record("broker", "Third", `{"type":"identify","messageId":"m4","userId":"u","traits":{"age":"old"}}`), record("web", "First", `{"type":"track"`),
		stream.Record{Kind: stream.KindQuarantine, Source: "crm", Party: "First", Body: []byte(`{"stage":"mapping","reason":"MappingFailed","message":"m","original":"a,b"}`)})
	p.send(record("web", "First", order("m2", `2`))) // corrected by its sender meanwhile

	groups := func(f quarantine.Filter) (out []string) {
		t.Helper()
		all, err := quarantine.Count(t.Context(), p.conn, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			out = append(out, fmt.Sprintf("%s %s/%s %d of %d", g.Source, g.Stage, g.Reason, g.Redrivable, g.Rows))
		}
		return out
	}
	if diff := cmp.Diff([]string{"web plan/PlanViolated 2 of 2", "broker plan/PlanViolated 1 of 1", "crm mapping/MappingFailed 0 of 1", "web parse/InvalidJSON 1 of 1"}, groups(quarantine.Filter{})); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		why    string
		filter quarantine.Filter
		rows   int
	}{
		{"source", quarantine.Filter{Source: "broker"}, 1}, {"stage", quarantine.Filter{Stage: "parse"}, 1}, {"reason", quarantine.Filter{Reason: "PlanViolated"}, 3},
		{"event", quarantine.Filter{Event: "Order"}, 2}, {"message", quarantine.Filter{MessageID: "m2"}, 1},
		{"since", quarantine.Filter{Since: noon.Add(time.Minute)}, 3}, {"until", quarantine.Filter{Until: noon.Add(time.Minute)}, 2}, {"quotes", quarantine.Filter{Source: `x' OR 1 = 1 --`}, 0},
	} {
		if rows, err := quarantine.List(t.Context(), p.conn, c.filter, 10); err != nil || len(rows) != c.rows {
			t.Errorf("by %s: %d rows, %v; want %d", c.why, len(rows), err, c.rows)
		}
	}

	// The plan still holds: all come back, with the time at which they were received, and wait as new rows.
	if n := p.redrive(quarantine.Filter{Reason: "PlanViolated"}); n != 3 {
		t.Errorf("%d rows were sent, want 3", n)
	}
	if got := groups(quarantine.Filter{Reason: "PlanViolated"}); !slices.Equal(got, []string{"web plan/PlanViolated 2 of 2", "broker plan/PlanViolated 1 of 1"}) {
		t.Errorf("refused again: %v", got)
	}

	p.strict.Store(false)
	if n := p.redrive(quarantine.Filter{Stage: "plan"}); n != 3 {
		t.Errorf("%d rows were sent, want 3", n)
	}
	if n := p.redrive(quarantine.Filter{Stage: "plan"}); n != 0 {
		t.Errorf("%d rows were sent again", n)
	}
	want := []string{
		`Identify broker Third m4 {"age":"old"} 2026-11-23 12:01:00.000`,
		`Order web First kohort-1-2-0 {"total":"3"} 2026-11-23 12:00:00.000`,
		`Order web First m1 {"total":1} 2026-11-23 12:00:00.000`,
		`Order web First m2 {"total":2} 2026-11-23 12:02:00.000`,
	}
	got := p.texts("SELECT concat(event, ' ', source, ' ', party, ' ', message_id, ' ', properties, ' ', toString(received)) FROM events ORDER BY 1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := p.texts("SELECT concat(name, '=', value, ' ', source, ' ', party) FROM traits FINAL"); !slices.Equal(got, []string{`age="old" broker Third`}) {
		t.Errorf("traits are %v: the party of a list that was bought stays with what came out of quarantine", got)
	}
	if rows, err := quarantine.List(t.Context(), p.conn, quarantine.Filter{Released: true}, 10); err != nil || len(rows) != 8 || !rows[0].Released {
		t.Errorf("with those let in there are %d rows, %v", len(rows), err)
	}
}

// Records that a mapping refused are mapped again once it is corrected: each is let in once, those that it leaves out too.
func TestRedriveOfRecords(t *testing.T) {
	p := newPlace(t)
	refused := func(number int, original string) stream.Record {
		return stream.Record{Kind: stream.KindQuarantine, Source: "crm", Party: "Second", Body: fmt.Appendf(nil,
			`{"stage":"mapping","reason":"MappingFailed","message":"m","original":%q,"record":{"number":%d,"format":"csv","columns":["id","state"],"origin":["file","crm"],"metadata":{"from":"monday"}}}`, original, number)}
	}
	p.send(refused(1, "u1,open"), refused(2, "u2,gone"), refused(3, ",open"))
	waiting := func() uint64 {
		t.Helper()
		n := uint64(0)
		groups, err := quarantine.Count(t.Context(), p.conn, quarantine.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if g.Redrivable != g.Rows {
				t.Errorf("%d of %d rows can be mapped again", g.Redrivable, g.Rows)
			}
			n += g.Rows
		}
		return n
	}
	page, err := quarantine.Redrive(t.Context(), p.conn, p.js, quarantine.Filter{}, nil, p.mapped)
	if err != nil || page.Sent != 0 || page.Refused != 3 || page.Example != "no mapping for crm" || page.Next != nil {
		t.Errorf("without a mapping: %+v, %v", page, err)
	}
	p.mapping = `root = if this.state == "gone" { deleted() } else { {"type": "track", "event": metadata("from"), "userId": this.id, "properties": {"row": row()}} }`
	if sent := p.redrive(quarantine.Filter{Stage: "mapping"}); sent != 2 {
		t.Errorf("%d rows were sent, want two: one of an event and one that is left out", sent)
	}
	if n := waiting(); n != 1 {
		t.Errorf("%d rows wait, want the one that is nobody's", n)
	}
	if sent := p.redrive(quarantine.Filter{}); sent != 0 {
		t.Errorf("%d rows were sent again", sent)
	}
	p.mapping = `root = {"type": "track", "event": "late", "userId": "row-" + row().string()}`
	if sent := p.redrive(quarantine.Filter{}); sent != 1 || waiting() != 0 {
		t.Errorf("%d rows were sent, and %d wait", sent, waiting())
	}
	got := p.texts("SELECT concat(event, ' ', source, ' ', party, ' ', user_id, anonymous_id, ' ', toString(received)) FROM events ORDER BY 1")
	if diff := cmp.Diff([]string{"late crm Second row-3 2026-11-23 12:00:00.000", "monday crm Second u1 2026-11-23 12:00:00.000"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Pages are cut by rows and by bytes, and none is left out or sent in vain.
func TestPages(t *testing.T) {
	p := newPlace(t)
	const n = 1203
	large := strings.Repeat("x", 20_000)
	for from := 0; from < n; from += 401 {
		var m []stream.Record
		for i := from; i < from+401; i++ {
			text := "small"
			if from == 401 {
				text = large
			}
			m = append(m, record("web", "First", fmt.Sprintf(`{"type":"track","event":"Order","messageId":"m%d","userId":"u","properties":{"total":%q}}`, i, text)))
		}
		for part := range slices.Chunk(m, 200) { // a message has at most 8 MB
			p.send(part...)
		}
	}
	p.strict.Store(false)
	if sent := p.redrive(quarantine.Filter{}); sent != n {
		t.Errorf("%d rows were sent, want %d", sent, n)
	}
	if got := p.texts("SELECT concat(toString(count()), ' ', toString(uniqExact(message_id))) FROM events"); got[0] != "1203 1203" {
		t.Errorf("stored: %s", got[0])
	}
}
