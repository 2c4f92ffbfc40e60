package ingest

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/store/access"
	storestream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// The store is killed again and again while events come in, engines end now and then too, a second engine that cuts other
// batches believes all the time to lead, and in the end each event is stored once.
func TestStoreKilledUnderLoad(t *testing.T) {
	const messages, perMessage, kills = 300, 40, 6
	w := storetest.StartWarehouse(t, storewarehouse.Config{})
	conn := warehousetest.Connect(t, w.URL, storetest.User, storetest.Password)
	js := newStream(t)
	ingest := func() (*Ingest, func() error) {
		c := config(conn, js)
		c.MaxEvents, c.Linger = 400, 5*time.Millisecond
		i := New(c)
		return i, start(t, i)
	}
	i, stop := ingest()
	c := config(conn, js)
	c.MaxEvents, c.Linger = 150, 20*time.Millisecond
	rival := New(c)
	start(t, rival)

	random := rand.New(rand.NewPCG(1, 2))
	published := make(chan struct{})
	go func() {
		defer close(published)
		for m := range messages {
			var bodies []string
			for k := range perMessage {
				n := m*perMessage + k
				bodies = append(bodies, fmt.Sprintf(`{"type":"track","event":"x","messageId":"m%d","userId":"u%d","anonymousId":"a%d"}`, n, n%97, n%291))
				if n%10 == 0 { // a client that tries again
					bodies = append(bodies, fmt.Sprintf(`{"type":"track","event":"x","messageId":"m%d","userId":"u%d"}`, random.IntN(n+1), n%97))
				}
			}
			if _, err := js.Publish(t.Context(), stream.Subject("web"), written(m, bodies...)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for k := range kills {
		time.Sleep(time.Duration(200+random.IntN(400)) * time.Millisecond)
		w.Kill(t)
		if k%2 == 1 {
			if err := stop(); err != nil {
				t.Errorf("Run returned %v", err)
			}
			i, stop = ingest()
		}
		w.Start(t)
	}
	<-published
	await(t, i, messages)
	await(t, rival, messages)
	got := texts(t, conn, `SELECT concat(toString(count()), ' ', toString(uniqExact(message_id)), ' ', toString(uniqExact(user_id))) FROM events`)
	n := messages * perMessage
	if diff := cmp.Diff([]string{fmt.Sprintf("%d %d 97", n, n)}, got); diff != "" {
		t.Errorf("events, message ids and users (-want +got):\n%s", diff)
	}
	// Each user is one customer, with its three devices.
	got = texts(t, conn, `SELECT toString(count()) FROM (SELECT if(o.survivor = 0, i.profile, o.survivor) AS p, groupUniqArray(concat(type, value)) AS ids
		FROM identities AS i LEFT ANY JOIN (SELECT * FROM profile_overrides FINAL) AS o ON o.profile = i.profile GROUP BY p HAVING length(ids) = 4)`)
	if diff := cmp.Diff([]string{"97"}, got); diff != "" {
		t.Errorf("customers with one user id and three devices (-want +got):\n%s", diff)
	}
	for _, table := range []string{"identities", "profile_identifiers"} {
		if twice := texts(t, conn, "SELECT value FROM "+table+" GROUP BY type, value HAVING uniqExact(profile) > 1"); len(twice) > 0 {
			t.Errorf("%s has %v of two customers", table, twice)
		}
	}
}

// The stream goes away and comes back with what it had.
func TestStreamRestarts(t *testing.T) {
	cfg := storestream.Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Credentials: access.Credentials{Username: "u", Password: "p"},
		MinFree: 1, MaxStore: 1 << 30, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	server, err := storestream.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = server.URL()[len("nats://"):]
	js, err := stream.Connect(t.Context(), server.URL(), warehousetest.Credentials(t, "u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	conn := warehousetest.Open(t)
	i := New(config(conn, js))
	stop := start(t, i)
	publish(t, js, story()[:3]...)
	await(t, i, 3)
	server.Close()
	time.Sleep(500 * time.Millisecond)
	if server, err = storestream.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for !js.Conn().IsConnected() {
		time.Sleep(10 * time.Millisecond)
	}
	publish(t, js, story()[3:]...)
	await(t, i, uint64(len(story())))
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to go on after the stream was back", took)
	}
	// A shutdown does not wait for a stream that is away.
	server.Close()
	time.Sleep(100 * time.Millisecond)
	began = time.Now()
	if err := stop(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("Run ended after %s with %v", time.Since(began), err)
	}
}
