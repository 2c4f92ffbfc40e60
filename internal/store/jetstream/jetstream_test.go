package jetstream_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
)

func connect(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, nats.JetStreamContext) {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.UserInfo(storetest.User, storetest.Password),
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := nc.JetStream(nats.MaxWait(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func addStream(t *testing.T, js nats.JetStreamContext, name, subject string) {
	t.Helper()
	if _, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{subject}, Duplicates: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func waitReady(t *testing.T, p *storetest.Process, want int) string {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		status, text := get(t, p.Health+"/ready")
		if status == want {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatalf("ready answers %d for 5 s, want %d: %s", status, want, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAuthentication(t *testing.T) {
	url, user, password := storetest.Stream(t)
	for _, c := range []struct {
		why            string
		user, password string
		ok             bool
	}{
		{"the right ones", user, password, true},
		{"a wrong password", user, password + "x", false},
		{"no password", user, "", false},
		{"none at all", "", "", false},
		{"the system account's usual name", "sys", password, false},
	} {
		nc, err := nats.Connect(url, nats.UserInfo(c.user, c.password))
		if (err == nil) != c.ok {
			t.Errorf("%s: connecting gave %v", c.why, err)
		}
		if err != nil {
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s: connecting gave %v, want an authorization error", c.why, err)
			}
			continue
		}
		// The system account's services must not answer this user.
		if msg, err := nc.Request("$SYS.REQ.SERVER.PING", nil, 200*time.Millisecond); err == nil {
			t.Errorf("%s: the system account answered: %s", c.why, msg.Data)
		}
		nc.Close()
	}
}

func TestPayloadLimit(t *testing.T) {
	url, _, _ := storetest.Stream(t)
	nc, js := connect(t, url)
	addStream(t, js, "EVENTS", "events.>")
	if nc.MaxPayload() != jetstream.MaxPayload {
		t.Errorf("clients are told a limit of %d bytes, want %d", nc.MaxPayload(), jetstream.MaxPayload)
	}
	// Headers count as well, so the largest group of events is a little smaller.
	if _, err := js.Publish("events.a", make([]byte, jetstream.MaxPayload-1024)); err != nil {
		t.Errorf("a message of nearly 8 MiB: %v", err)
	}
	if _, err := js.Publish("events.a", make([]byte, jetstream.MaxPayload+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a message of more than 8 MiB gave %v, want %v", err, nats.ErrMaxPayload)
	}
}

func TestReadyAndMetrics(t *testing.T) {
	p := storetest.StartStream(t, jetstream.Config{})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	if _, err := js.AddConsumer("EVENTS", &nats.ConsumerConfig{Durable: "engine", AckPolicy: nats.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := js.Publish("events.a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	waitReady(t, p, 200)
	if status, _ := get(t, p.Health+"/ping"); status != 200 {
		t.Errorf("ping answers %d", status)
	}
	_, text := get(t, p.Health+"/metrics")
	for _, line := range []string{
		`kohort_stream_messages{stream="EVENTS"} 3` + "\n", `kohort_stream_pending_messages{consumer="engine",stream="EVENTS"} 3` + "\n",
		`kohort_stream_last_sequence{stream="EVENTS"} 3` + "\n", "kohort_stream_bytes ", "kohort_stream_disk_free_bytes ", "kohort_stream_clients 1\n",
	} {
		// The probe's own connection is in process and counted too.
		if !strings.Contains(text, line) && !strings.Contains(text, strings.Replace(line, "clients 1", "clients 2", 1)) {
			t.Errorf("the metrics lack %q", line)
		}
	}
	// A client that removes the probe's stream does not make the store unready.
	if err := js.DeleteStream("KOHORT_STORE_HEALTH"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	waitReady(t, p, 200)
}

// publishUntilStopped publishes numbered messages and returns how many were
// acknowledged. A message is retried, under its id, until it is.
func publishUntilStopped(t *testing.T, js nats.JetStreamContext, writer int, stop *atomic.Bool) int {
	for n := 0; ; n++ {
		if stop.Load() {
			return n
		}
		id := fmt.Sprintf("%d-%d", writer, n)
		for {
			_, err := js.Publish("events.w", []byte(id), nats.MsgId(id))
			if err == nil {
				break
			}
			if t.Context().Err() != nil {
				return n
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// What was acknowledged is there after kill -9, once, and in order.
func TestKillsLoseAndDoubleNothing(t *testing.T) {
	kills := 5
	if os.Getenv("KOHORT_LONG") != "" {
		kills = 100
	}
	p := storetest.StartStream(t, jetstream.Config{})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	var stop atomic.Bool
	var writers sync.WaitGroup
	acknowledged := make([]int, 4)
	for w := range acknowledged {
		_, js := connect(t, p.URL)
		writers.Go(func() { acknowledged[w] = publishUntilStopped(t, js, w, &stop) })
	}
	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
		p.Kill(t)
		p.Start(t)
	}
	stop.Store(true)
	writers.Wait()

	_, js = connect(t, p.URL)
	sub, err := js.PullSubscribe("events.>", "", nats.BindStream("EVENTS"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	next := make([]int, len(acknowledged))
	for read := 0; read < total; {
		msgs, err := sub.Fetch(min(1000, total-read), nats.MaxWait(5*time.Second))
		if err != nil {
			t.Fatalf("reading message %d of %d: %v", read, total, err)
		}
		for _, m := range msgs {
			var w, n int
			if _, err := fmt.Sscanf(string(m.Data), "%d-%d", &w, &n); err != nil {
				t.Fatal(err)
			}
			if n != next[w] {
				t.Fatalf("message %d of writer %d follows %d", n, w, next[w]-1)
			}
			next[w]++
		}
		read += len(msgs)
	}
	t.Logf("%d messages over %d kills", total, kills)
	info, err := js.StreamInfo("EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if int(info.State.Msgs) != total || total < 10*kills {
		t.Errorf("the stream holds %d messages, %d were acknowledged over %d kills", info.State.Msgs, total, kills)
	}
}

func TestStopIsGraceful(t *testing.T) {
	p := storetest.StartStream(t, jetstream.Config{})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	if _, err := js.Publish("events.a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	p.Stop(t)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	p.Start(t)
	_, js = connect(t, p.URL)
	if info, err := js.StreamInfo("EVENTS"); err != nil || info.State.Msgs != 1 {
		t.Errorf("after a stop and a start the stream is %+v, error %v", info, err)
	}
}

// volume is a file system of its own, which the test can fill.
func volume(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("mounting a small volume, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fill publishes until a publish fails.
func fill(t *testing.T, js nats.JetStreamContext, size int) (acknowledged uint64, err error) {
	t.Helper()
	for acknowledged < 1000 {
		if _, err = js.Publish("events.a", make([]byte, size)); err != nil {
			return acknowledged, err
		}
		acknowledged++
	}
	t.Fatal("the volume never filled")
	return 0, nil
}

// Somebody else fills the volume: publishes are refused with an error that
// says why, reading goes on, and they are taken again once there is room.
func TestFloor(t *testing.T) {
	dir := volume(t, 128)
	p := storetest.StartStream(t, jetstream.Config{Dir: dir, MinFree: 48 << 20})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	waitReady(t, p, 200)
	if _, err := js.Publish("events.a", []byte("first")); err != nil {
		t.Fatal(err)
	}
	other := dir + "/somebody-else"
	if err := os.WriteFile(other, make([]byte, 90<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := waitReady(t, p, 503); !strings.Contains(text, "is full") {
		t.Errorf("ready says %q", text)
	}
	_, err := js.Publish("events.a", []byte("second"))
	var api *nats.APIError
	if !errors.As(err, &api) || api.ErrorCode != 10002 {
		t.Errorf("a publish to a full disk gave %v, want JetStream's error 10002 (resource limits exceeded)", err)
	}
	if msg, err := js.GetMsg("EVENTS", 1); err != nil || string(msg.Data) != "first" {
		t.Errorf("reading from a full disk gave %v and error %v", msg, err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	waitReady(t, p, 200)
	if ack, err := js.Publish("events.a", []byte("third")); err != nil || ack.Sequence != 2 {
		t.Errorf("with room again a publish gave %+v and error %v, want sequence 2", ack, err)
	}
}

// The stream's own messages fill it up to its limit.
func TestMaxStore(t *testing.T) {
	p := storetest.StartStream(t, jetstream.Config{MaxStore: 20 << 20})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	acknowledged, err := fill(t, js, 1<<20)
	var api *nats.APIError
	if !errors.As(err, &api) || api.ErrorCode != 10023 {
		t.Errorf("a publish beyond the limit gave %v, want JetStream's error 10023 (insufficient resources)", err)
	}
	if info, err := js.StreamInfo("EVENTS"); err != nil || info.State.Msgs != acknowledged {
		t.Errorf("the stream is %+v (error %v), %d messages were acknowledged", info, err, acknowledged)
	}
	if err := js.PurgeStream("EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("events.a", []byte("x")); err != nil {
		t.Errorf("after a purge a publish gave %v", err)
	}
}

// The disk fills faster than the guard looks: JetStream's file store then stays
// shut until a restart, so the process ends, and comes back with everything
// that it had acknowledged.
func TestNoSpaceLeft(t *testing.T) {
	dir := volume(t, 64)
	p := storetest.StartStream(t, jetstream.Config{Dir: dir, MinFree: 1, MaxStore: 1 << 40})
	_, js := connect(t, p.URL)
	addStream(t, js, "EVENTS", "events.>")
	other := dir + "/somebody-else"
	if err := os.WriteFile(other, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	acknowledged, err := fill(t, js, 1<<20)
	t.Logf("%d messages were acknowledged, then: %v", acknowledged, err)
	if err := p.Wait(); err == nil {
		t.Error("a stream that cannot write ended as if all were well")
	}
	if !strings.Contains(p.Log(), "no space left on device") {
		t.Errorf("the log does not say why: %s", p.Log())
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	p.Start(t)
	waitReady(t, p, 200)
	_, js = connect(t, p.URL)
	info, err := js.StreamInfo("EVENTS")
	if err != nil || info.State.Msgs < acknowledged || info.State.Msgs > acknowledged+1 {
		t.Errorf("after the restart the stream is %+v (error %v), %d messages were acknowledged", info, err, acknowledged)
	}
	if _, err := js.Publish("events.a", []byte("again")); err != nil {
		t.Errorf("after the restart a publish gave %v", err)
	}
}
