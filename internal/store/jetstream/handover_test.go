package jetstream_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
)

// TestSuccessorWaits starts a second stream in the directory of one that still serves, as happens when somebody deletes
// the store's pod by force. What the first one acknowledges meanwhile must be there afterwards.
func TestSuccessorWaits(t *testing.T) {
	dir := t.TempDir()
	first := storetest.StartStream(t, jetstream.Config{Dir: dir})
	_, js := connect(t, first.URL)
	addStream(t, js, "EVENTS", "events.>")

	type opened struct {
		stream *jetstream.Stream
		err    error
	}
	started := make(chan opened, 1)
	go func() {
		stream, err := jetstream.Open(t.Context(), jetstream.Config{
			Dir: dir, Listen: "127.0.0.1:0", MinFree: 1, MaxStore: 4 << 30, Log: slog.New(slog.DiscardHandler),
			Credentials: access.Credentials{Username: storetest.User, Password: storetest.Password},
		})
		started <- opened{stream, err}
	}()
	acknowledged := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); acknowledged++ {
		id := fmt.Sprint(acknowledged)
		if _, err := js.Publish("events.w", []byte(id), nats.MsgId(id)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-started:
		t.Fatal("a second stream serves the directory of the first one")
	default:
	}
	first.Kill(t)
	second := <-started
	if second.err != nil {
		t.Fatal(second.err)
	}
	defer second.stream.Close()

	_, js = connect(t, second.stream.URL())
	info, err := js.StreamInfo("EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if int(info.State.Msgs) != acknowledged || acknowledged == 0 {
		t.Errorf("%d messages were acknowledged, %d are there", acknowledged, info.State.Msgs)
	}
}
