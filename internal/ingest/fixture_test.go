package ingest

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

var epoch = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func rules() []identity.Rule {
	return []identity.Rule{
		{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "email", Limit: 2, Normalize: identity.Email},
		{Type: "anonymousId", Limit: 3, Normalize: identity.Exact},
	}
}

// newStream starts a stream that keeps messages.
func newStream(t testing.TB) jetstream.JetStream {
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
	return js
}

func publish(t testing.TB, js jetstream.JetStream, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		subject := stream.Subject("web")
		if bytes.Contains(m, []byte("fromType")) {
			subject = stream.IdentitySubject
		}
		if _, err := js.Publish(t.Context(), subject, m); err != nil {
			t.Fatal(err)
		}
	}
}

// written makes one message of bodies of single events.
func written(second int, bodies ...string) []byte {
	var m []byte
	for _, body := range bodies {
		m = stream.Append(m, stream.Record{
			Kind: stream.KindEvent, Received: epoch.Add(time.Duration(second) * time.Second), Source: "web", Party: "First", Body: []byte(body),
		})
	}
	return m
}

// story is a stream with everything in it that a batch may hold: visitors who log in, merges within a batch and over
// several, limits that are reached, duplicates within and across batches, months that change, traits that change and go,
// and things that belong in quarantine.
func story() [][]byte {
	track := func(n int, ids string) string {
		return fmt.Sprintf(`{"type":"track","event":"Seen","messageId":"m%d","properties":{"n":%d},%s}`, n, n, ids)
	}
	month := 9 * 24 * 3600
	return [][]byte{
		written(0, track(1, `"anonymousId":"a1"`), track(2, `"anonymousId":"a2"`), track(1, `"anonymousId":"a1"`), `{"type":"track"}`),
		written(1, `{"type":"identify","messageId":"i1","userId":"u1","anonymousId":"a1","traits":{"email":"One@x.org","plan":"free","age":7}}`),
		written(2, track(3, `"userId":"u1","anonymousId":"a2"`), track(2, `"anonymousId":"a2"`), track(4, `"userId":"null"`)),
		{1, 2, 3},
		written(3, track(5, `"userId":"u2","anonymousId":"a1"`), track(6, `"anonymousId":"b1"`), track(7, `"anonymousId":"b2"`),
			`{"type":"identify","messageId":"i2","userId":"u3","anonymousId":"b1","traits":{"plan":"pro"},"timestamp":"2026-11-23T09:00:00Z"}`,
			`{"type":"identify","messageId":"i3","userId":"u3","anonymousId":"b2","traits":{"plan":"trial"},"timestamp":"2026-11-23T08:00:00Z"}`),
		written(month, `{"type":"identify","userId":"u1","traits":{"plan":"pro","age":null}}`, track(8, `"userId":"u1","anonymousId":"a3"`), track(9, `"userId":"u1","anonymousId":"a4"`)),
		append(written(10, track(10, `"userId":"u4"`)), written(month, track(11, `"userId":"u4","anonymousId":"c1"`))[1:]...),
		written(month+1, track(12, `"anonymousId":"d1"`), track(13, `"anonymousId":"d2"`)),
		written(month+2, `{"type":"alias","messageId":"l1","userId":"u5","previousId":"d1"}`, track(14, `"userId":"u5","anonymousId":"d2"`), track(3, `"userId":"u1"`)),
		written(month+3, `{"type":"identify","messageId":"i4","anonymousId":"e1","traits":{"email":"one@X.org"}}`, `[]`, track(15, `"anonymousId":"e1"`)),
		append(redriven(1, 7, track(16, `"anonymousId":"f1"`)), redriven(1, 7, track(16, `"anonymousId":"f1"`))[1:]...),
		append(redriven(1, 7, track(16, `"anonymousId":"f1"`)), redriven(1, 8, `{"type":"track"}`)[1:]...),
	}
}

// cuts is a stream that goes on after the story with unmerges, and events that would undo them.
func cuts() [][]byte {
	track := func(n int, ids string) string {
		return fmt.Sprintf(`{"type":"track","event":"Seen","messageId":"m%d","properties":{"n":%d},%s}`, n, n, ids)
	}
	return [][]byte{
		written(20, `{"type":"identify","messageId":"i20","userId":"u6","anonymousId":"g1","traits":{"plan":"free","city":"Rome"}}`,
			`{"type":"group","messageId":"g20","userId":"u6","groupId":"acme"}`, `{"type":"group","messageId":"g21","anonymousId":"g1","groupId":"beta"}`),
		written(21, `{"type":"identify","messageId":"i21","anonymousId":"g1","traits":{"plan":"pro","email":"g@x.org"}}`, track(21, `"anonymousId":"g1"`), track(22, `"userId":"u6"`)),
		unmerged(22, `{"type":"anonymousId","value":"g1","fromType":"userId","fromValue":"u6"}`),
		written(23, track(23, `"userId":"u6","anonymousId":"g1"`), track(24, `"anonymousId":"g1"`), track(25, `"userId":"u6","anonymousId":"g2"`)),
		written(24, `{"type":"identify","messageId":"i24","anonymousId":"g2","traits":{"email":"g@x.org"}}`),
		unmerged(25, `{"type":"anonymousId","value":"g1","fromType":"userId","fromValue":"u6"}`), // they are two people's
		unmerged(26, `{"type":"email","value":"one@x.org","fromType":"","fromValue":""}`),
		written(27, track(27, `"userId":"u1","anonymousId":"e1"`)),
		append(unmerged(28, `{"type":"userId","value":"u1","fromType":"","fromValue":""}`), written(28, track(28, `"userId":"u1"`))[1:]...), // not by itself
		written(29, `{"type":"identify","messageId":"i29","userId":"u7","anonymousId":"g1"}`),
	}
}

// unmerged makes a message that cuts an identifier out of its profile.
func unmerged(second int, body string) []byte {
	return stream.Append(nil, stream.Record{Kind: stream.KindUnmerge, Received: epoch.Add(time.Duration(second) * time.Second), Body: []byte(body)})
}

// redriven makes a message of a row of quarantine that is let in again.
func redriven(second int, id byte, original string) []byte {
	body, err := json.Marshal(map[string]string{"id": hex.EncodeToString(append(make([]byte, 15), id)), "original": original})
	if err != nil {
		panic(err)
	}
	return stream.Append(nil, stream.Record{
		Kind: stream.KindRedrive, Received: epoch.Add(time.Duration(second) * time.Second), Source: "web", Party: "Third", Body: body,
	})
}

// start runs an Ingest until the test ends or stop is called, which gives what Run returned.
func start(t testing.TB, i *Ingest) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	var result error
	done := false
	stop = func() error {
		cancel()
		if !done {
			result, done = <-ended, true
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// await waits until the stream is stored up to message last.
func await(t testing.TB, i *Ingest, last uint64) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for i.Stats().Done < last {
		if time.Now().After(deadline) {
			t.Fatalf("message %d is not stored after a minute: %+v", last, i.Stats())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tables whose rows must not depend on what failed while they were written.
func tables() map[string]string {
	dump := func(table string) string { return "SELECT toString(tuple(*)) FROM " + table + " ORDER BY 1" }
	return map[string]string{
		"events":              dump("events"),
		"message_ids":         dump("(SELECT hex(hash), received, seq FROM message_ids)"),
		"quarantine":          dump("quarantine"),
		"violations":          dump("violations"),
		"quarantine_released": dump("(SELECT hex(id), received, seq FROM quarantine_released)"),
		"profiles":            dump("profiles FINAL"),
		"identities":          dump("identities FINAL"),
		"profile_identifiers": dump("profile_identifiers FINAL"),
		"profile_overrides":   dump("profile_overrides FINAL"),
		"traits":              dump("traits FINAL"),
		"account_members":     dump("(SELECT account, profile, min(since), max(seen) FROM account_members GROUP BY account, profile)"),
		"identity_cuts":       dump("identity_cuts"),
		// An edge may be written again by a process that does not know it is there, but none may be missing.
		"identity_edges": dump("(SELECT DISTINCT a_type, a_value, b_type, b_value FROM identity_edges)"),
	}
}

func dump(t testing.TB, conn driver.Conn) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, query := range tables() {
		out[name] = texts(t, conn, query)
	}
	return out
}

func texts(t testing.TB, conn driver.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
