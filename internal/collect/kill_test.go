package collect

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/store/access"
	storejetstream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
)

// childVariable makes this test binary a collector with its stream: directory, and the address to listen on.
const childVariable = "KOHORT_COLLECT_TEST_CHILD"

func TestMain(m *testing.M) {
	if order := os.Getenv(childVariable); order != "" {
		dir, addr, _ := strings.Cut(order, "|")
		if err := runChild(dir, addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func openStream(ctx context.Context, dir string) (*storejetstream.Stream, error) {
	return storejetstream.Open(ctx, storejetstream.Config{
		Dir: dir + "/stream", Listen: "127.0.0.1:0", MinFree: 1, MaxStore: 4 << 30, Log: slog.New(slog.DiscardHandler),
		Credentials: access.Credentials{Username: storetest.User, Password: storetest.Password},
	})
}

func runChild(dir, addr string) error {
	ctx := context.Background()
	store, err := openStream(ctx, dir)
	if err != nil {
		return err
	}
	js, err := stream.Connect(ctx, store.URL(), dir+"/credentials")
	if err != nil {
		return err
	}
	key, err := ReadKey(dir + "/writeKey")
	if err != nil {
		return err
	}
	publisher := stream.NewPublisher(js, stream.Subject("web"), stream.PublisherOptions{})
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	health, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	server := Server{Ready: publisher.Ready, Gatherer: registry, MaxConnections: 1000, Logger: slog.New(slog.DiscardHandler),
		Handler: NewHandler(HandlerOptions{Source: "web", Party: "First", Key: key, Log: publisher, Now: time.Now, Metrics: NewMetrics(registry)})}
	return server.Serve(ctx, listener, health)
}

// Invariant: nothing acknowledged is lost, and what was not acknowledged and is sent again is found once by its message
// id. The collector and its stream are killed at random moments under load.
func TestKilledCollectorLosesNothingAcknowledged(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/credentials", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/credentials/username", storetest.User)
	write(t, dir+"/credentials/password", storetest.Password)
	write(t, dir+"/writeKey", "test-key")
	free := listen(t)
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}

	const clients, size = 16, 5
	acknowledged := make([]map[string]bool, clients)
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for i := range clients {
		acknowledged[i] = map[string]bool{}
		sending.Go(func() { sendUntil(ctx, addr, i, size, acknowledged[i]) })
	}
	// A fixed seed makes the moments the same in each run as far as the machine allows.
	random := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childVariable+"="+dir+"|"+addr)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300*time.Millisecond + time.Duration(random.Int64N(int64(700*time.Millisecond))))
		if err := child.Process.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		_ = child.Wait() // it was killed
	}
	stop()
	sending.Wait()

	stored := storedIDs(t, dir)
	total, lost := 0, 0
	for _, ids := range acknowledged {
		for id := range ids {
			total++
			if stored[id] == 0 {
				lost++
			}
		}
	}
	repeated := 0
	for _, times := range stored {
		repeated += times - 1
	}
	t.Logf("%d events acknowledged in %d rounds; the stream holds %d different ones and %d repeats that were sent again", total, rounds, len(stored), repeated)
	if lost > 0 {
		t.Errorf("%d of %d acknowledged events are lost", lost, total)
	}
	if total < 100*rounds {
		t.Errorf("only %d events were acknowledged: there was no load to speak of", total)
	}
	// Only a request without an answer is sent again: at most one per client and kill.
	if most := clients * size * rounds; repeated > most {
		t.Errorf("%d events are stored more than once, at most %d can have been sent twice", repeated, most)
	}
}

// sendUntil sends batches as an SDK does: again and again under the same message ids until one is acknowledged.
func sendUntil(ctx context.Context, addr string, client, size int, acknowledged map[string]bool) {
	var conn net.Conn
	var answers *bufio.Reader
	for n := 0; ctx.Err() == nil; n++ {
		ids, events := make([]string, size), make([]string, size)
		for i := range ids {
			ids[i] = fmt.Sprintf("%d-%d-%d", client, n, i)
			events[i] = fmt.Sprintf(`{"type":"track","event":"A","messageId":%q,"anonymousId":"a"}`, ids[i])
		}
		body := `{"batch":[` + strings.Join(events, ",") + `]}`
		request := fmt.Appendf(nil, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", basic("test-key:"), len(body), body)
		for ctx.Err() == nil {
			if conn == nil {
				var err error
				if conn, err = net.DialTimeout("tcp", addr, time.Second); err != nil {
					conn = nil
					time.Sleep(10 * time.Millisecond)
					continue
				}
				answers = bufio.NewReader(conn)
			}
			if err := exchange(conn, answers, request); err != nil {
				_ = conn.Close()
				conn = nil
				time.Sleep(5 * time.Millisecond)
				continue
			}
			for _, id := range ids {
				acknowledged[id] = true
			}
			break
		}
	}
	if conn != nil {
		_ = conn.Close()
	}
}

// storedIDs opens what the killed processes left and counts each message id.
func storedIDs(t *testing.T, dir string) map[string]int {
	t.Helper()
	store, err := openStream(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	js, err := stream.Connect(t.Context(), store.URL(), dir+"/credentials")
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	events, err := js.OrderedConsumer(t.Context(), stream.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for more := true; more; {
		batch, err := events.FetchNoWait(1000)
		if err != nil {
			t.Fatal(err)
		}
		more = false
		for m := range batch.Messages() {
			more = true
			if err := stream.Decode(m.Data(), func(_ int, r stream.Record) error {
				var body struct{ Batch []struct{ MessageID string } }
				if err := json.Unmarshal(r.Body, &body); err != nil {
					return err
				}
				for _, e := range body.Batch {
					ids[e.MessageID]++
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if batch.Error() != nil {
			t.Fatal(batch.Error())
		}
	}
	return ids
}
