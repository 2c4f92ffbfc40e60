package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// texts are secrets that stand nowhere.
type texts map[string]string

func (s texts) Value(name string) (string, error) {
	if value, ok := s[name]; ok {
		return value, nil
	}
	return "", run.Refuse("InvalidSpec", "the Source has no secret %s; add it to secretRefs", name)
}

func (s texts) File(name string) (string, error) {
	value, err := s.Value(name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), name)
	return path, os.WriteFile(path, []byte(value), 0o600)
}

// moody fails the first times that it is asked.
type moody struct {
	Log
	mu    sync.Mutex
	fails int
}

func (m *moody) Publish(ctx context.Context, r stream.Record) error {
	m.mu.Lock()
	m.fails--
	failing := m.fails >= 0
	m.mu.Unlock()
	if failing {
		return errors.New("the stream is away")
	}
	return m.Log.Publish(ctx, r)
}

func (b *bench) listener(t *testing.T, order run.ListenOrder, secrets Secrets, log Log) *Listener {
	t.Helper()
	order.Platform, order.Source, order.Party = "shop", "crm", "Second"
	l, err := NewListener(ListenOptions{Order: order, Secrets: secrets, Log: log, Logger: slog.New(slog.DiscardHandler),
		Metrics: NewListenMetrics(prometheus.NewRegistry()), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// listen runs a listener until the stream holds so many events and rejections of distinct ids, and gives them.
func (b *bench) listen(t *testing.T, l *Listener, events, rejections int, all *event.Parsed) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := b.events(t)
		all.Events, all.Rejections = append(all.Events, got.Events...), append(all.Rejections, got.Rejections...)
		if len(distinct(*all)) >= events && len(all.Rejections) >= rejections {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events and %d rejections of %d and %d", len(distinct(*all)), len(all.Rejections), events, rejections)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !l.Ready() {
		t.Error("a listener that reads is not ready")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func distinct(parsed event.Parsed) map[string]event.Event {
	out := map[string]event.Event{}
	for _, e := range parsed.Events {
		out[e.MessageID] = e
	}
	return out
}

const orders = `root = if this.type() != "object" { throw("not an order") } else { {
  "type": "track", "event": "Order Completed", "userId": this.customer,
  "properties": {"n": this.n, "key": metadata("kafka_key"), "none": metadata("none")}} }`

// Kafka is kfake, the broker that franz-go's own tests use: a real one is not to be had where these tests run.
func TestListenToKafka(t *testing.T) {
	b := newBench(t)
	cluster, err := kfake.NewCluster(kfake.SeedTopics(3, "orders"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "kohort", `p"${HOME}\word`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("orders"),
		kgo.SASL(scram.Auth{User: "kohort", Pass: `p"${HOME}\word`}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	produce := func(from, to int, more ...string) {
		t.Helper()
		var records []*kgo.Record
		for i := from; i < to; i++ {
			customer := fmt.Sprint("u", i%50)
			records = append(records, &kgo.Record{Key: []byte(customer), Value: fmt.Appendf(nil, `{"customer":%q,"n":%d}`, customer, i)})
		}
		for _, text := range more {
			records = append(records, &kgo.Record{Value: []byte(text)})
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	order := run.ListenOrder{Mapping: orders, Kafka: &run.Kafka{
		Brokers: cluster.ListenAddrs(), Topics: []string{"orders"}, ConsumerGroup: "kohort-crm", Mechanism: "SCRAM-SHA-256", User: "kohort",
	}}
	secrets := texts{secretKafkaPassword: `p"${HOME}\word`}
	var all event.Parsed

	produce(0, 2000, `plain text`, "\xff\xfe", `{"n": 1}`)
	b.listen(t, b.listener(t, order, secrets, &moody{Log: b.log, fails: 3}), 2000, 3, &all)
	produce(2000, 2500)
	b.listen(t, b.listener(t, order, secrets, b.log), 2500, 3, &all)

	if len(all.Events) != 2500 {
		t.Errorf("%d events for 2500 messages: what was acknowledged came again, or one has two ids", len(all.Events))
	}
	reasons := map[string]int{}
	for _, r := range all.Rejections {
		reasons[r.Reason]++
	}
	if reasons[mapping.MappingFailed] != 1 || reasons[mapping.InvalidEncoding] != 1 || len(all.Rejections) != 3 {
		t.Errorf("quarantine holds %v", reasons)
	}
	last := map[string]int{}
	for _, e := range all.Events {
		var n int
		if _, err := fmt.Sscanf(e.Properties, `{"key":"`+e.UserID+`","n":%d,"none":null}`, &n); err != nil || e.Party != "Second" {
			t.Fatalf("event %+v", e)
		}
		if n <= last[e.UserID] && n != 0 {
			t.Fatalf("customer %s: %d came after %d", e.UserID, n, last[e.UserID])
		}
		last[e.UserID] = n
	}
}

func TestListenToNATS(t *testing.T) {
	b := newBench(t)
	theirs, user, password := storetest.Stream(t) // another server
	js, err := stream.Connect(t.Context(), theirs, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(subject string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := js.Publish(t.Context(), subject, fmt.Appendf(nil, `{"customer":"u1","n":%d}`, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	order := run.ListenOrder{Mapping: orders, NATS: &run.NATS{URLs: []string{theirs}, Stream: "ORDERS", Subject: "orders.eu.>", Durable: "kohort-crm", User: user}}
	secrets := texts{secretNATSPassword: password}
	var all event.Parsed
	publish("orders.eu.web", 0, 300)
	publish("orders.us.web", 1000, 1010)
	b.listen(t, b.listener(t, order, secrets, &moody{Log: b.log, fails: 2}), 300, 0, &all)
	publish("orders.eu.web", 300, 400)
	b.listen(t, b.listener(t, order, secrets, b.log), 400, 0, &all)
	if len(all.Events) != 400 {
		t.Errorf("%d events for 400 messages", len(all.Events))
	}
}

func TestListenToAnyInput(t *testing.T) {
	b := newBench(t)
	one := func(n int) string {
		return fmt.Sprintf(`{"generate": {"count": 1, "interval": "", "mapping": "root = {\"customer\": \"${WHO}\", \"n\": %d}"}}`, n)
	}
	order := run.ListenOrder{Mapping: orders, Connector: &run.Connector{Input: []byte(`{"broker": {"inputs": [` + one(1) + `,` + one(2) + `]}}`)}}
	l := b.listener(t, order, texts{"WHO": "u7"}, b.log)
	if err := l.Run(t.Context()); err != nil { // this input has an end
		t.Fatal(err)
	}
	got := b.events(t)
	if len(distinct(got)) != 2 || got.Events[0].UserID != "u7" {
		t.Errorf("%d events, the first %+v", len(got.Events), got.Events)
	}
}

func TestListenRefusesWhatCannotBeUsed(t *testing.T) {
	for _, c := range []struct{ why, mapping, input, reason, says string }{
		{"a mapping that does not parse", "root = (", `{"generate":{"mapping":"root = {}"}}`, reasonMappingInvalid, "spec.mapping"},
		{"an input that does not exist", "root = this", `{"carrier_pigeon":{}}`, reasonInvalidSpec, "spec.connector.input"},
		{"a field that does not exist", "root = this", `{"nats":{"urls":["nats://h:1"],"subjekt":"x"}}`, reasonInvalidSpec, "subjekt"},
		{"a secret that nobody names", "root = this", `{"generate":{"mapping":"root = \"${TOKEN}\""}}`, reasonInvalidSpec, "TOKEN"},
		{"the environment is nobody's business", "root = this", `{"generate":{"mapping":"root = env(\"PATH\")"}}`, reasonInvalidSpec, "env"},
		{"nor are files", "root = this", `{"generate":{"mapping":"root = file(\"/etc/passwd\")"}}`, reasonInvalidSpec, "file"},
		{"nor other programs", "root = this", `{"generate":{"mapping":"root = {}"},"processors":[{"command":{"name":"id"}}]}`, reasonInvalidSpec, "command"},
		{"a text is no input", "root = this", `"x"`, reasonInvalidSpec, "not an object"},
	} {
		l, err := NewListener(ListenOptions{Order: run.ListenOrder{Mapping: c.mapping, Connector: &run.Connector{Input: []byte(c.input)}},
			Secrets: texts{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewListenMetrics(prometheus.NewRegistry()), Now: time.Now})
		if err == nil {
			err = l.Run(t.Context())
		}
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != c.reason || !failure.Fatal || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}
