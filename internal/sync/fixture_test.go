package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	gosync "sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse"
)

// world writes what the engine writes: profiles, what is known of them, and who is a member.
type world struct {
	t       testing.TB
	conn    driver.Conn
	version uint64
}

// person is what a profile is to have.
type person struct {
	profile     uint64
	id          uuid.UUID
	identifiers identifiers
	traits      map[string]string // JSON by name
}

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, conn driver.Conn) *world {
	return &world{t: t, conn: conn}
}

func (w *world) next() uint64 { w.version++; return w.version }

func (w *world) insert(table string, columns ...warehouse.Column) {
	w.t.Helper()
	if err := warehouse.Insert(context.Background(), w.conn, table, "", columns...); err != nil {
		w.t.Fatal(err)
	}
}

func column[T any](name, kind string, values []T) warehouse.Column {
	return warehouse.Column{Name: name, Type: kind, Values: values}
}

func repeated[T any](value T, n int) []T { return slices.Repeat([]T{value}, n) }

// know writes profiles with their ids, identifiers and traits.
func (w *world) know(people ...person) {
	w.t.Helper()
	v := w.next()
	var profiles, ofIdentifier, ofTrait []uint64
	var ids []uuid.UUID
	var types, values, names, contents []string
	for _, p := range people {
		profiles, ids = append(profiles, p.profile), append(ids, p.id)
		for kind, list := range p.identifiers {
			for _, value := range list {
				ofIdentifier, types, values = append(ofIdentifier, p.profile), append(types, kind), append(values, value)
			}
		}
		for name, content := range p.traits {
			ofTrait, names, contents = append(ofTrait, p.profile), append(names, name), append(contents, content)
		}
	}
	w.name(profiles, ids)
	for _, table := range []string{"profile_identifiers", "identities"} {
		w.insert(table, column("profile", "UInt64", ofIdentifier), column("type", "String", types), column("value", "String", values),
			column("since", "DateTime64(3, 'UTC')", repeated(start, len(types))), column("version", "UInt64", repeated(v, len(types))))
	}
	w.describe(ofTrait, names, contents)
}

// name writes the public ids of profiles.
func (w *world) name(profiles []uint64, ids []uuid.UUID) {
	w.t.Helper()
	v, n := w.next(), len(ids)
	w.insert("profiles", column("profile", "UInt64", profiles), column("id", "UUID", ids), column("rank", "UInt32", repeated(uint32(0), n)),
		column("created", "DateTime64(3, 'UTC')", repeated(start, n)), column("version", "UInt64", repeated(v, n)))
}

// describe writes traits, each later than all before.
func (w *world) describe(profiles []uint64, names, values []string) {
	w.t.Helper()
	at, n := start.Add(time.Duration(w.next())*time.Second), len(names)
	w.insert("traits", column("profile", "UInt64", profiles), column("name", "String", names), column("value", "String", values),
		column("source", "String", repeated("web", n)), column("party", "String", repeated("First", n)),
		column("occurred", "DateTime64(3, 'UTC')", repeated(at, n)))
}

// merge sends a profile into another.
func (w *world) merge(from, into uint64) {
	w.t.Helper()
	w.insert("profile_overrides", column("profile", "UInt64", []uint64{from}), column("survivor", "UInt64", []uint64{into}),
		column("version", "UInt64", []uint64{w.next()}))
}

// enter and leave change who is a member; evaluate says that the audience was evaluated.
func (w *world) enter(audience string, profiles ...uint64) {
	w.t.Helper()
	w.membership(audience, 0, profiles)
	w.evaluate(audience)
}
func (w *world) leave(audience string, profiles ...uint64) {
	w.t.Helper()
	w.membership(audience, 1, profiles)
	w.evaluate(audience)
}

func (w *world) membership(audience string, deleted uint8, profiles []uint64) {
	w.t.Helper()
	v, n := w.next(), len(profiles)
	w.insert("memberships", column("audience", "String", repeated(audience, n)), column("profile", "UInt64", profiles),
		column("since", "DateTime64(3, 'UTC')", repeated(start, n)), column("revision", "UInt64", repeated(v, n)),
		column("deleted", "UInt8", repeated(deleted, n)))
}

func (w *world) evaluate(audience string) {
	w.t.Helper()
	w.insert("audience_revisions", column("audience", "String", []string{audience}), column("revision", "UInt64", []uint64{w.version}),
		column("definition", "String", []string{""}), column("size", "UInt64", []uint64{0}),
		column("at", "DateTime64(3, 'UTC')", []time.Time{start}))
}

// someone makes a person with an e-mail address, a user id and a plan.
func someone(n uint64) person {
	return person{
		profile:     n,
		id:          uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n)),
		identifiers: identifiers{"email": {fmt.Sprintf("p%d@example.com", n)}, "userId": {fmt.Sprintf("u%d", n)}},
		traits:      map[string]string{"plan": `"free"`, "visits": fmt.Sprint(n)},
	}
}

func people(first, last uint64) []person {
	var all []person
	for n := first; n <= last; n++ {
		all = append(all, someone(n))
	}
	return all
}

func ordinals(people []person) []uint64 {
	var all []uint64
	for _, p := range people {
		all = append(all, p.profile)
	}
	return all
}

func ids(people ...person) []uuid.UUID {
	var all []uuid.UUID
	for _, p := range people {
		all = append(all, p.id)
	}
	return all
}

// body is what a webhook receives.
type body struct {
	Audience, Sync, Run string
	Operations          []destination.Operation
}

// receiver is a webhook that holds members by id, as docs/destinations/webhook.md asks for.
type receiver struct {
	*httptest.Server
	mu       gosync.Mutex
	members  map[string]destination.Operation
	requests int
	rows     int
	keys     []string
	log      []destination.Operation // every operation that was taken, in order
	// before may answer in place of the receiver: with a status above 0 nothing is taken.
	before func(request int, b body) (status int, answer string)
	// after the rows are taken, may answer in its place: the receiver has the rows and Kohort does not know.
	after func(request int, b body) (status int)
	// reject names the reason that a row is refused for.
	reject func(destination.Operation) string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{members: map[string]destination.Operation{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var b body
	data, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if r.before != nil {
		if status, answer := r.before(r.requests, b); status > 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer)
			return
		}
	}
	r.keys = append(r.keys, request.Header.Get("Idempotency-Key"))
	answer := r.take(b)
	if r.after != nil {
		if status := r.after(r.requests, b); status > 0 {
			w.WriteHeader(status)
			return
		}
	}
	_, _ = w.Write(answer)
}

func (r *receiver) take(b body) []byte {
	var refused []map[string]string
	for _, o := range b.Operations {
		r.rows++
		if r.reject != nil {
			if reason := r.reject(o); reason != "" {
				refused = append(refused, map[string]string{"id": o.ID, "reason": reason, "message": "no good: " + o.ID})
				continue
			}
		}
		r.log = append(r.log, o)
		if o.Op == destination.OpRemove {
			delete(r.members, o.ID)
		} else {
			r.members[o.ID] = o
		}
	}
	if refused == nil {
		return nil
	}
	answer, err := json.Marshal(map[string]any{"rejected": refused})
	if err != nil {
		panic(err)
	}
	return answer
}

// reset forgets what was counted, not what is held.
func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.rows, r.keys, r.log = 0, 0, nil, nil
}

func (r *receiver) held() map[string]destination.Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.members)
}

// order asks for a mirror of an audience at a webhook.
func order(audience, url string) run.SyncOrder {
	return run.SyncOrder{
		Platform: "shop", Sync: audience + "-mailer", Audience: audience, Destination: "mailer", Mode: ModeMirror,
		Slot: start, Traits: map[string]string{"tariff": "plan"}, Webhook: &run.Webhook{URL: url},
	}
}

// config is that of a run which waits for nothing.
func config(t testing.TB, conn driver.Conn, o run.SyncOrder) Config {
	t.Helper()
	hook, err := destination.NewWebhook(destination.WebhookConfig{
		URL: o.Webhook.URL, Audience: o.Audience, Sync: o.Sync, Run: fmt.Sprint(o.Slot.Unix()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hook.Close() })
	c := DefaultConfig()
	c.Warehouse, c.Order, c.Destination, c.Host, c.Log = conn, o, hook, "pod-1", quiet()
	c.Policy.First, c.Policy.Longest, c.Evaluation = time.Microsecond, time.Microsecond, 0
	return c
}

// mustRun runs to success.
func mustRun(t testing.TB, c Config) run.Report {
	t.Helper()
	report, err := Run(context.Background(), c)
	if err != nil {
		t.Fatalf("run: %v (report %+v)", err, report)
	}
	return report
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
