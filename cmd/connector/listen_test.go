package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// A listener that is killed again and again loses no message, and what comes twice has one id.
func TestListenerIsKilled(t *testing.T) {
	const messages, kills = 20_000, 3
	url, user, password := storetest.Stream(t)
	credentials := warehousetest.Credentials(t, user, password)
	js, err := stream.Connect(t.Context(), url, credentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.SeedTopics(4, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	// A broker gives the partitions of one who was killed away once its session ends, which the client sets to 45 s.
	cluster.ControlKey(int16(kmsg.JoinGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if join, ok := request.(*kmsg.JoinGroupRequest); ok {
			join.SessionTimeoutMillis = 6000
		}
		return nil, nil, false
	})
	go produce(t, cluster.ListenAddrs(), messages)

	order, err := json.Marshal(run.ListenOrder{
		Platform: "shop", Source: "orders", Party: "First", Mapping: `root = {"type": "track", "event": "Order", "userId": this.customer, "properties": {"n": this.n}}`,
		Kafka: &run.Kafka{Brokers: cluster.ListenAddrs(), Topics: []string{"orders"}, ConsumerGroup: "g"},
	})
	if err != nil {
		t.Fatal(err)
	}
	health := freeAddress(t)
	start := func() *exec.Cmd {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "listen", "--stream-url", url, "--stream-credentials-dir", credentials, "--health-listen", health,
			"--termination-log", filepath.Join(t.TempDir(), "log"))
		cmd.Env = append(os.Environ(), commandEnv+"=1", run.OrderVariable+"="+string(order))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	seen, sequence, repeated := map[string]string{}, uint64(0), 0
	cmd := start()
	for killed := 0; len(seen) < messages; {
		repeated += read(t, js, &sequence, seen)
		if killed < kills && len(seen) > (killed+1)*messages/(kills+1) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			killed++
			cmd = start()
		}
		if t.Context().Err() != nil {
			t.Fatalf("%d of %d messages", len(seen), messages)
		}
		time.Sleep(5 * time.Millisecond)
	}
	answer, err := http.Get("http://" + health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if !bytes.Contains(metrics, []byte("kohort_listener_messages_total")) {
		t.Errorf("metrics: %s", metrics)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("a listener that is told to end: %v", err)
	}
	numbers := map[string]bool{}
	for _, properties := range seen {
		numbers[properties] = true
	}
	if len(numbers) != messages || len(seen) != messages {
		t.Errorf("%d ids for %d messages of %d", len(seen), len(numbers), messages)
	}
	t.Logf("%d messages came again after %d kills", repeated, kills)
}

// A webhook takes requests until it is told to end, answers those that came before, and then goes.
func TestWebhook(t *testing.T) {
	url, user, password := storetest.Stream(t)
	credentials := warehousetest.Credentials(t, user, password)
	js, err := stream.Connect(t.Context(), url, credentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	order, err := json.Marshal(run.ListenOrder{
		Platform: "shop", Source: "tickets", Party: "First", Mapping: `root = {"type": "track", "event": "Ticket", "userId": this.who}`, Webhook: &run.Hook{Verify: run.VerifyToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address, health := freeAddress(t), freeAddress(t)
	cmd := exec.Command(self, "listen", "--stream-url", url, "--stream-credentials-dir", credentials, "--listen", address, "--health-listen", health,
		"--secret", "WEBHOOK_SECRET="+secret, "--termination-log", filepath.Join(t.TempDir(), "log"))
	cmd.Env = append(os.Environ(), commandEnv+"=1", run.OrderVariable+"="+string(order))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	ask := func(method, address, token string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address, bytes.NewReader([]byte(`{"who":"u1"}`)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for deadline := time.Now().Add(20 * time.Second); ask(http.MethodGet, health+"/readyz", "") != http.StatusOK; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not become ready")
		}
	}
	if status := ask(http.MethodPost, address, "hush"); status != http.StatusOK {
		t.Errorf("an event gives %d", status)
	}
	// A secret that is replaced counts at once.
	if err := os.WriteFile(secret, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if old, renewed := ask(http.MethodPost, address, "hush"), ask(http.MethodPost, address, "new"); old != http.StatusUnauthorized || renewed != http.StatusOK {
		t.Errorf("with the old secret %d, with the new one %d", old, renewed)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	for deadline := time.Now().Add(5 * time.Second); ask(http.MethodGet, health+"/readyz", "") != http.StatusServiceUnavailable; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not say that it goes")
		}
	}
	if status := ask(http.MethodPost, address, "new"); status != http.StatusOK {
		t.Errorf("while load balancers learn that it goes a request gives %d", status)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a webhook that is told to end: %v", err)
	}
	seen, sequence := map[string]string{}, uint64(0)
	if again := read(t, js, &sequence, seen); len(seen) != 1 || again != 2 { // the same body is the same event
		t.Errorf("%d events, %d again", len(seen), again)
	}
}

func produce(t *testing.T, brokers []string, messages int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	for from := 0; from < messages; from += 500 {
		var records []*kgo.Record
		for n := from; n < from+500; n++ {
			customer := fmt.Sprint("u", n%97)
			records = append(records, &kgo.Record{Key: []byte(customer), Value: fmt.Appendf(nil, `{"customer":%q,"n":%d}`, customer, n)})
		}
		if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
			t.Error(err)
			return
		}
	}
}

// read adds the properties of the events that came since, by their ids, and counts those that came again.
func read(t *testing.T, js jetstream.JetStream, sequence *uint64, seen map[string]string) (again int) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	for last := s.CachedInfo().State.LastSeq; *sequence < last; {
		*sequence++
		m, err := s.GetMsg(t.Context(), *sequence)
		if err != nil {
			t.Fatal(err)
		}
		var parsed event.Parsed
		parsed.Add(event.Message{Seq: m.Sequence, Subject: m.Subject, Data: m.Data})
		for _, e := range parsed.Events {
			if _, ok := seen[e.MessageID]; ok {
				again++
			}
			seen[e.MessageID] = e.Properties
		}
	}
	return again
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
