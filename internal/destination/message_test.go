package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

var telling = Telling{Audience: "vip", Sync: "vip-queue"}

// three of each type, and what is told of them.
func three() (Batch, []string) {
	b := versioned()
	b.Operations[1].New = true
	b.Operations = append(b.Operations, Operation{Op: OpUpsert, ID: "33333333-3333-5333-8333-333333333333", Version: 10, Identifiers: map[string][]string{}})
	return b, []string{
		`{"type":"exited","audience":"vip","sync":"vip-queue","id":"11111111-1111-5111-8111-111111111111","version":8,"identifiers":{"email":["ada@example.com"]},"traits":null}`,
		`{"type":"entered","audience":"vip","sync":"vip-queue","id":"22222222-2222-5222-8222-222222222222","version":9,"entry":3,"identifiers":{"email":["alan@example.com"],"userId":["u2"]},"traits":{"city":null,"plan":"=1+1, \"pro\"\n|b;"}}`,
		`{"type":"updated","audience":"vip","sync":"vip-queue","id":"33333333-3333-5333-8333-333333333333","version":10,"identifiers":{},"traits":null}`,
	}
}

// large has a row that no queue takes between two that every one takes.
func large() Batch {
	b, _ := three()
	b.Operations[1].Traits = map[string]json.RawMessage{"plan": []byte(`"` + strings.Repeat("x", 9<<20) + `"`)}
	return b
}

// refusedBy checks what a destination says to a person who has to change something.
func refusedBy(t *testing.T, why string, d Destination, kind, reason, says string) {
	t.Helper()
	b, _ := three()
	_, err := d.Deliver(context.Background(), b)
	got, _ := kindOf(err)
	var failure *run.Failure
	if got != kind || errors.As(err, &failure) && failure.Reason != reason || !strings.Contains(fmt.Sprint(err), says) || strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("%s: %s: %v, want %s that says %q", why, got, err, kind, says)
	}
	_ = d.Close()
}

func TestNATS(t *testing.T) {
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	members, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MEMBERS", Subjects: []string{"audiences.>"}})
	if err != nil {
		t.Fatal(err)
	}
	to := func(url, subject, password string) *NATS {
		n, err := NewNATS(NATSConfig{NATSTarget: run.NATSTarget{URLs: []string{url}, Subject: subject, User: user}, PasswordFile: file(t, password), Telling: telling})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	batch, want := three()
	n := to(url, "audiences.vip", password)
	for range 2 { // what is sent again is dropped by its id
		if results, err := n.Deliver(t.Context(), batch); err != nil || !cmp.Equal(results, make([]Result, 3)) {
			t.Fatal(results, err)
		}
	}
	for i := range want {
		got, err := members.GetMsg(t.Context(), uint64(i)+1)
		if err != nil || string(got.Data) != want[i] || got.Header.Get(natsKey) != batch.Operations[i].ID || !strings.Contains(want[i], `"`+got.Header.Get(natsType)+`"`) {
			t.Errorf("message %d: %v %s (%v), want %s", i, got.Header, got.Data, err, want[i])
		}
	}
	if info, err := members.Info(t.Context()); err != nil || info.State.Msgs != 3 {
		t.Errorf("%+v (%v)", info, err)
	}
	if results, err := n.Deliver(t.Context(), large()); err != nil || !results[1].Rejected || results[1].Reason != "TooLarge" || results[0].Rejected || results[2].Rejected {
		t.Errorf("a row that is too large: %+v (%v)", results, err)
	}
	refusedBy(t, "a wrong password", to(url, "audiences.vip", "hunter2"), "fatal", ReasonUnreachable, "spec.nats.passwordSecretRef")
	refusedBy(t, "no stream", to(url, "elsewhere", password), "fatal", ReasonUnreachable, `the subject "elsewhere"`)
	refusedBy(t, "no Secret", to(url, "audiences.vip", ""), "fatal", ReasonSecretNotFound, "spec.nats.passwordSecretRef")
	refusedBy(t, "nobody is there", to("nats://127.0.0.1:1", "x", password), "unconnected", "", "spec.nats.urls")
}

// Kafka is kfake, the broker that franz-go's own tests use: a real one is not to be had where these tests run.
func TestKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.SeedTopics(3, "members"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "kohort", "pass"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	to := func(brokers []string, topic, password string) *Kafka {
		k, err := NewKafka(KafkaConfig{KafkaTarget: run.KafkaTarget{Brokers: brokers, Topic: topic, Mechanism: "SCRAM-SHA-512", User: "kohort"}, PasswordFile: file(t, password), Telling: telling})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		return k
	}
	batch, want := three()
	k := to(cluster.ListenAddrs(), "members", "pass")
	if results, err := k.Deliver(t.Context(), batch); err != nil || !cmp.Equal(results, make([]Result, 3)) {
		t.Fatal(results, err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("members"),
		kgo.SASL(scram.Auth{User: "kohort", Pass: "pass"}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	got := map[string]*kgo.Record{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(got) < 3 && ctx.Err() == nil {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got[string(r.Key)] = r })
	}
	for i, o := range batch.Operations {
		r := got[o.ID]
		if r == nil || string(r.Value) != want[i] || len(r.Headers) != 2 || !strings.Contains(want[i], `"`+string(r.Headers[0].Value)+`"`) {
			t.Errorf("record %d: %+v, want %s", i, r, want[i])
		}
	}
	if results, err := k.Deliver(t.Context(), large()); err != nil || !results[1].Rejected || results[1].Reason != "TooLarge" || results[0].Rejected || results[2].Rejected {
		t.Errorf("a row that is too large: %+v (%v)", results, err)
	}
	refusedBy(t, "a wrong password, and a broker that does not say so", to(cluster.ListenAddrs(), "members", "hunter2"), "unavailable", ReasonUnreachable, "spec.kafka.sasl.passwordSecretRef")
	refusedBy(t, "no topic", to(cluster.ListenAddrs(), "elsewhere", "pass"), "fatal", ReasonUnreachable, `no topic "elsewhere"`)
	refusedBy(t, "no Secret", to(cluster.ListenAddrs(), "members", ""), "fatal", ReasonSecretNotFound, "spec.kafka.sasl.passwordSecretRef")
	refusedBy(t, "nobody is there", to([]string{"127.0.0.1:1"}, "members", "pass"), "unconnected", "", "spec.kafka.brokers")
}

// What kfake does not say and brokers do (Kafka protocol, error codes).
func TestKafkaErrors(t *testing.T) {
	k := &Kafka{config: KafkaConfig{KafkaTarget: run.KafkaTarget{Brokers: []string{"b:9092"}, Topic: "members"}}}
	for says, err := range map[string]error{
		"spec.kafka.sasl.passwordSecretRef": kerr.SaslAuthenticationFailed,
		`write to topic "members"`:          kerr.TopicAuthorizationFailed,
		"has no topic":                      fmt.Errorf("producing: %w", kerr.UnknownTopicOrPartition),
	} {
		var failure *run.Failure
		if failed := k.failure(err); !errors.As(failed, &failure) || !failure.Fatal || !strings.Contains(failed.Error(), says) {
			t.Errorf("%v gives %v, want one that says %q", err, failed, says)
		}
	}
	if kind, err := kindOf(k.failure(kerr.NotEnoughReplicas)); kind != "unavailable" {
		t.Errorf("replicas that are away give %s (%v)", kind, err)
	}
}

func TestKafkaCertificates(t *testing.T) {
	k, err := NewKafka(KafkaConfig{KafkaTarget: run.KafkaTarget{Brokers: []string{"127.0.0.1:1"}, Topic: "x", TLS: true, CA: true}, CAFile: file(t, "no PEM"), Telling: telling})
	if err != nil {
		t.Fatal(err)
	}
	refusedBy(t, "certificates that are none", k, "fatal", ReasonInvalidSpec, "spec.kafka.tls.caSecretRef")
}
