package stream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/stream"
)

// serve runs JetStream on dir that syncs every write; port -1 takes a free one.
func serve(t *testing.T, dir string, port int, change func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, SyncAlways: true, MaxPayload: stream.MaxMessage,
		NoSigs: true, NoLog: true,
	}
	if change != nil {
		change(options)
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not take connections")
	}
	t.Cleanup(func() { stopServer(s) })
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func connect(t *testing.T, s *server.Server) jetstream.JetStream {
	t.Helper()
	js, err := stream.Connect(t.Context(), s.ClientURL(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	return js
}

func publisher(t *testing.T, js jetstream.JetStream, options stream.PublisherOptions) *stream.Publisher {
	t.Helper()
	p := stream.NewPublisher(js, stream.Subject("web"), options)
	t.Cleanup(func() { p.Close(context.Background()) })
	eventually(t, "the first probe is acknowledged", p.Ready)
	return p
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// bodies reads the whole stream and counts each record's body.
func bodies(t *testing.T, js jetstream.JetStream) map[string]int {
	t.Helper()
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Decode(m.Data, func(_ int, r stream.Record) error { found[string(r.Body)]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestPublishStoresEachRecordOnceInGroups(t *testing.T) {
	js := connect(t, serve(t, t.TempDir(), -1, nil))
	var mu sync.Mutex
	messages, records := 0, 0
	p := publisher(t, js, stream.PublisherOptions{Committers: 1, Observe: func(c stream.Commit) {
		mu.Lock()
		defer mu.Unlock()
		messages++
		records += c.Records
	}})
	const writers, each = 32, 50
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				r := stream.Record{Kind: stream.KindTrack, Received: time.Now(), Body: fmt.Appendf(nil, `{"n":"%d-%d"}`, w, i)}
				if err := p.Publish(context.Background(), r); err != nil {
					t.Errorf("publishing: %v", err)
				}
			}
		})
	}
	writing.Wait()
	p.Close(t.Context())
	found := bodies(t, js)
	if len(found) != writers*each {
		t.Errorf("the stream holds %d different records, want %d", len(found), writers*each)
	}
	for body, times := range found {
		if times != 1 {
			t.Errorf("%s is stored %d times", body, times)
		}
	}
	if records != writers*each || messages > records/2 {
		t.Errorf("%d records went in %d messages; %d records in groups are expected", records, messages, writers*each)
	}
	if err := p.Publish(t.Context(), stream.Record{}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

func TestPublishMakesTheStreamThatIsMissing(t *testing.T) {
	js := connect(t, serve(t, t.TempDir(), -1, nil))
	p := publisher(t, js, stream.PublisherOptions{})
	if err := js.DeleteStream(t.Context(), stream.Name); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), stream.Record{Kind: stream.KindTrack, Body: []byte("{}")}); err != nil {
		t.Fatalf("a store that came back with an empty volume: %v", err)
	}
	if found := bodies(t, js); found["{}"] != 1 {
		t.Errorf("the stream holds %v, want the record once", found)
	}
}

func TestPublishRefusesWhileTheStreamIsAwayAndRecovers(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, dir, -1, nil)
	port := first.Addr().String()[strings.LastIndex(first.Addr().String(), ":")+1:]
	js := connect(t, first)
	p := publisher(t, js, stream.PublisherOptions{AckWait: 200 * time.Millisecond, GiveUp: 500 * time.Millisecond})
	stopServer(first)
	r := stream.Record{Kind: stream.KindTrack, Body: []byte(`{"n":"while away"}`)}
	if err := p.Publish(t.Context(), r); !errors.Is(err, stream.ErrUnavailable) {
		t.Fatalf("without a server: got %v, want ErrUnavailable", err)
	}
	start := time.Now()
	if err := p.Publish(t.Context(), r); !errors.Is(err, stream.ErrUnavailable) || time.Since(start) > 100*time.Millisecond {
		t.Errorf("got %v after %s; once the stream is known to be away a refusal takes no time", err, time.Since(start))
	}
	if p.Ready() == nil {
		t.Error("ready without a server")
	}
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	serve(t, dir, number, nil)
	eventually(t, "ready again", p.Ready)
	if err := p.Publish(t.Context(), stream.Record{Kind: stream.KindTrack, Body: []byte(`{"n":"back"}`)}); err != nil {
		t.Fatal(err)
	}
	if found := bodies(t, js); found[`{"n":"back"}`] != 1 || p.Pending() != 0 {
		t.Errorf("the stream holds %v and %d bytes wait", found, p.Pending())
	}
}

// Nobody waits for a stream that stays away.
func TestPublishDoesNotWaitForAConnectionThatStaysLost(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, -1, nil)
	port := s.Addr().(*net.TCPAddr).Port
	p := publisher(t, connect(t, s), stream.PublisherOptions{}) // with its defaults, of which the longest is 8 s
	eventually(t, "ready", p.Ready)
	record := stream.Record{Kind: stream.KindEvent, Received: time.Now(), Source: "web", Party: "First", Body: []byte(`{}`)}
	stopServer(s)
	for _, longest := range []time.Duration{2 * time.Second, 100 * time.Millisecond} {
		started := time.Now()
		if err := p.Publish(t.Context(), record); !errors.Is(err, stream.ErrUnavailable) {
			t.Fatalf("without a connection: %v", err)
		}
		if took := time.Since(started); took > longest {
			t.Errorf("the refusal took %s, at most %s are expected", took, longest)
		}
	}
	serve(t, dir, port, nil)
	eventually(t, "the record is taken", func() error { return p.Publish(t.Context(), record) })
}

func TestAFullStreamRefusesInsteadOfDroppingOldEvents(t *testing.T) {
	js := connect(t, serve(t, t.TempDir(), -1, func(o *server.Options) { o.JetStreamMaxStore = 64 << 10 }))
	p := publisher(t, js, stream.PublisherOptions{AckWait: 200 * time.Millisecond, GiveUp: 300 * time.Millisecond})
	stored := 0
	for i := 0; ; i++ {
		body := fmt.Appendf(nil, `{"n":%d,"pad":%q}`, i, strings.Repeat("x", 4<<10))
		err := p.Publish(t.Context(), stream.Record{Kind: stream.KindTrack, Body: body})
		if err == nil {
			stored++
			continue
		}
		if !errors.Is(err, stream.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		break
	}
	if found := bodies(t, js); len(found) != stored || stored < 5 {
		t.Errorf("%d records were acknowledged and %d are there", stored, len(found))
	}
}

func TestPublishRefusesMoreThanMayWait(t *testing.T) {
	s := serve(t, t.TempDir(), -1, nil)
	js := connect(t, s)
	p := publisher(t, js, stream.PublisherOptions{PendingBytes: 1 << 20, AckWait: 300 * time.Millisecond, GiveUp: 600 * time.Millisecond})
	if err := p.Publish(t.Context(), stream.Record{Body: make([]byte, 2<<20)}); !errors.Is(err, stream.ErrOverloaded) {
		t.Errorf("2 MiB where 1 MiB may wait: got %v, want ErrOverloaded", err)
	}
	if err := p.Publish(t.Context(), stream.Record{Body: make([]byte, stream.MaxMessage)}); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("a record larger than a message: got %v, want ErrTooLarge", err)
	}
	if err := p.Publish(t.Context(), stream.Record{Kind: stream.KindBatch, Body: make([]byte, 900<<10)}); err != nil {
		t.Errorf("a record larger than a group goes in one of its own: %v", err)
	}
}

func TestConnectReadsCredentialsAgain(t *testing.T) {
	credentials := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(credentials, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("username", "kohort\n")
	write("password", "one\n")
	dir := t.TempDir()
	s := serve(t, dir, -1, func(o *server.Options) { o.Username, o.Password = "kohort", "one" })
	port := s.Addr().String()[strings.LastIndex(s.Addr().String(), ":")+1:]
	js, err := stream.Connect(t.Context(), s.ClientURL(), credentials)
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	stopServer(s)
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	serve(t, dir, number, func(o *server.Options) { o.Username, o.Password = "kohort", "two" })
	time.Sleep(time.Second) // several refused logins: two in a row must not end the connection
	write("password", "two")
	eventually(t, "connected with the new password", func() error {
		if !js.Conn().IsConnected() {
			return errors.New("not connected")
		}
		return nil
	})
}

func TestConnectSaysWhyItCannot(t *testing.T) {
	s := serve(t, t.TempDir(), -1, func(o *server.Options) { o.Username, o.Password = "kohort", "right" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := stream.Connect(ctx, s.ClientURL(), ""); err == nil || !strings.Contains(strings.ToLower(err.Error()), "authorization") {
		t.Errorf("without credentials: got %v, want an error that names authorization", err)
	}
	if _, err := stream.Connect(t.Context(), s.ClientURL(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without files: got %v, want one that says that a file is missing", err)
	}
}

func TestEnsureStreamIsIdempotentAndLeavesOthersSettings(t *testing.T) {
	js := connect(t, serve(t, t.TempDir(), -1, nil))
	config := func() jetstream.StreamConfig {
		s, err := js.Stream(t.Context(), stream.Name)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config
	}
	steps := []struct {
		why       string
		retention time.Duration
		want      time.Duration
	}{
		{"a collector that comes first makes it with the default age", 0, stream.DefaultRetention},
		{"the engine brings the Platform's retention", 48 * time.Hour, 48 * time.Hour},
		{"a collector that restarts leaves the engine's setting", 0, 48 * time.Hour},
		{"a retention shorter than the window of duplicates shortens that as well", time.Minute, time.Minute},
	}
	for _, step := range steps {
		if err := stream.EnsureStream(t.Context(), js, step.retention); err != nil {
			t.Fatalf("%s: %v", step.why, err)
		}
		c := config()
		if c.MaxAge != step.want || c.Discard != jetstream.DiscardNew || c.Duplicates > c.MaxAge || c.Duplicates == 0 {
			t.Errorf("%s: got age %s, discard %s, duplicates %s", step.why, c.MaxAge, c.Discard, c.Duplicates)
		}
	}
	c := config()
	c.MaxConsumers = -1
	c.Metadata = map[string]string{"owner": "platform team"}
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := stream.EnsureStream(t.Context(), js, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := config().Metadata["owner"]; got != "platform team" {
		t.Errorf("metadata owner is %q after EnsureStream; an administrator's settings stay", got)
	}
	if err := stream.EnsureStream(t.Context(), js, -time.Hour); err == nil {
		t.Error("a negative retention must be refused")
	}
	var making sync.WaitGroup
	if err := js.DeleteStream(t.Context(), stream.Name); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		making.Go(func() {
			if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
				t.Errorf("several at once: %v", err)
			}
		})
	}
	making.Wait()
}
