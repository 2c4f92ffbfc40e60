package sync

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestMirrorFollowsTheAudience(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 1200)
	w.know(all...)
	w.enter("vip", ordinals(all[:1100])...)
	c := config(t, conn, order("vip", r.URL))

	report := mustRun(t, c)
	if diff := cmp.Diff(run.Report{Added: 1100, Members: 1100, Revision: int64(w.version)}, report); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	ada := someone(7)
	want := destination.Operation{
		Op: destination.OpUpsert, ID: ada.id.String(),
		Identifiers: map[string][]string{"email": {"p7@example.com"}, "userId": {"u7"}},
		Traits:      map[string]json.RawMessage{"tariff": json.RawMessage(`"free"`)},
	}
	if diff := cmp.Diff(want, r.held()[ada.id.String()]); diff != "" {
		t.Errorf("a member (-want +got):\n%s", diff)
	}
	if r.requests != 3 {
		t.Errorf("1100 members took %d requests, want 3 of at most 500 operations", r.requests)
	}

	r.reset()
	report = mustRun(t, c)
	if r.requests != 0 || report.Added+report.Updated+report.Removed != 0 || report.Members != 1100 {
		t.Errorf("a second run with nothing changed sent %d requests, report %+v", r.requests, report)
	}

	w.leave("vip", 1, 2, 3)
	w.enter("vip", 1101, 1102)
	revision := int64(w.version)
	ada.traits = map[string]string{"plan": `"pro"`}
	w.know(ada)
	report = mustRun(t, c)
	if diff := cmp.Diff(run.Report{Added: 2, Updated: 1, Removed: 3, Members: 1099, Revision: revision}, report); diff != "" {
		t.Errorf("run after changes (-want +got):\n%s", diff)
	}
	if r.rows != 6 || len(r.held()) != 1099 {
		t.Errorf("6 changes sent %d rows, and the receiver holds %d of 1099", r.rows, len(r.held()))
	}
	if got := string(r.held()[ada.id.String()].Traits["tariff"]); got != `"pro"` {
		t.Errorf("the changed trait arrived as %s", got)
	}

	c.Order.Drain = true
	report = mustRun(t, c)
	if diff := cmp.Diff(run.Report{Removed: 1099}, report); diff != "" {
		t.Errorf("drain (-want +got):\n%s", diff)
	}
	if len(r.held()) != 0 {
		t.Errorf("after a drain the receiver holds %d members", len(r.held()))
	}
	r.reset()
	if report = mustRun(t, c); r.requests != 0 || report.Removed != 0 {
		t.Errorf("a second drain sent %d requests, report %+v", r.requests, report)
	}
}

// failure gives the reason and the message that a run ended with.
func failure(t *testing.T, c Config) (run.Report, run.Failure) {
	t.Helper()
	report, err := Run(context.Background(), c)
	var failed *run.Failure
	if !errors.As(err, &failed) {
		t.Fatalf("the run ended with %v, want a failure with a reason", err)
	}
	return report, *failed
}

func TestRejectedRowsAreRememberedAndCounted(t *testing.T) {
	conn := warehousetest.Open(t)
	w, h := newWorld(t, conn), newHostile(t)
	all := people(1, 10)
	all[3].traits["plan"] = bad
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	c := config(t, conn, order("vip", h.URL))
	report := mustRun(t, c)
	want := []run.Rejection{{Reason: "BadTariff", Count: 1, Example: "no good: …"}}
	if diff := cmp.Diff(want, report.Rejections); diff != "" || report.Added != 9 || report.Members != 9 || report.Rejected != 1 {
		t.Errorf("report %+v, rejections (-want +got):\n%s", report, diff)
	}
	h.reset()
	report = mustRun(t, c)
	if h.requests > 0 || report.Rejected != 1 || report.Members != 9 {
		t.Errorf("the refused row was sent again or forgotten: %d requests, report %+v", h.requests, report)
	}
	all[3].traits["plan"] = `"pro"`
	w.know(all[3])
	if report = mustRun(t, c); report.Added != 1 || report.Rejected != 0 || h.rows != 1 {
		t.Errorf("the row with a new payload: %d rows sent, report %+v", h.rows, report)
	}
	all[4].traits["plan"] = bad
	w.know(all[4])
	if report = mustRun(t, c); report.Rejected != 1 || report.Members != 10 || len(h.held()) != 10 {
		t.Errorf("a refused change leaves what was held: report %+v, the receiver holds %d", report, len(h.held()))
	}
	w.leave("vip", all[4].profile)
	if report = mustRun(t, c); report.Removed != 1 || report.Rejected != 0 || len(h.held()) != 9 {
		t.Errorf("a member whose change was refused leaves: report %+v, the receiver holds %d", report, len(h.held()))
	}
}

func TestDestinationThatIsAway(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 700)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	c := config(t, conn, order("vip", r.URL))
	c.PageRows, c.Policy.Patience = 100, 0
	r.before = func(n int, _ body) (int, string) {
		if n > 2 {
			return http.StatusServiceUnavailable, ""
		}
		return 0, ""
	}
	report, failed := failure(t, c)
	if failed.Reason != destination.ReasonUnreachable || failed.Fatal || !strings.Contains(failed.Error(), "500 rows are pending") {
		t.Errorf("failure %q (fatal %v): %v", failed.Reason, failed.Fatal, failed.Err)
	}
	if report.Added != 200 || report.Pending != 500 {
		t.Errorf("report %+v, want 200 added and 500 pending", report)
	}
	r.before = nil
	r.reset()
	if report = mustRun(t, c); report.Added != 500 || r.rows != 500 || report.Members != 700 {
		t.Errorf("the next run sent %d rows and reports %+v, want the 500 that were left", r.rows, report)
	}

	w.leave("vip", 1, 2, 3)
	w.enter("vip", 3)
	r.before = func(int, body) (int, string) { return http.StatusUnauthorized, "" }
	report, failed = failure(t, c)
	if !failed.Fatal || failed.Reason != destination.ReasonUnreachable || report.Pending != 2 || !strings.Contains(failed.Error(), "tokenSecretRef") {
		t.Errorf("a refused token: fatal %v, %q, %v, report %+v", failed.Fatal, failed.Reason, failed.Err, report)
	}
}

// Pending rows are the first to be tried, and a member who left before that is taken out, for it may have arrived.
func TestPendingRowsComeFirst(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 30)
	w.know(all...)
	w.enter("vip", ordinals(all[:10])...)
	c := config(t, conn, order("vip", r.URL))
	c.PageRows, c.Policy.Patience = 10, 0
	r.after = func(int, body) int { return http.StatusBadGateway } // they arrived, and nobody knows
	if report, _ := failure(t, c); report.Pending != 10 {
		t.Fatalf("report %+v, want 10 pending", report)
	}
	r.after = nil
	r.reset()
	w.leave("vip", 4)
	w.enter("vip", ordinals(all[10:])...)
	report := mustRun(t, c)
	if report.Added != 29 || report.Removed != 1 || len(r.held()) != 29 {
		t.Errorf("report %+v, the receiver holds %d; want 29 added, 1 removed", report, len(r.held()))
	}
	for i, o := range r.log {
		first := i < 10
		if n := profileOf(all, o.ID); (n <= 10) != first {
			t.Fatalf("operation %d is about customer %d: the ten pending ones come first", i, n)
		}
	}
}

func profileOf(all []person, id string) uint64 {
	for _, p := range all {
		if p.id.String() == id {
			return p.profile
		}
	}
	return 0
}

func TestMergedProfileIsReplacedInOneRequest(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 600)
	w.know(all...)
	w.enter("vip", ordinals(all[:500])...)
	c := config(t, conn, order("vip", r.URL))
	mustRun(t, c)
	r.reset()

	w.merge(7, 600) // 600 is new to the audience, through 7
	w.leave("vip", 8)
	report := mustRun(t, c)
	if report.Added != 1 || report.Removed != 2 || r.requests != 1 {
		t.Fatalf("report %+v in %d requests; want one that removes two and adds one", report, r.requests)
	}
	last := r.log[2]
	if last.Op != destination.OpUpsert || last.ID != all[599].id.String() {
		t.Errorf("the last operation is %+v, want the addition of the merged profile", last)
	}
	want := map[string][]string{"email": {"p600@example.com", "p7@example.com"}, "userId": {"u600", "u7"}}
	if diff := cmp.Diff(want, last.Identifiers); diff != "" {
		t.Errorf("its identifiers (-want +got):\n%s", diff)
	}

	// 9 is merged into 10, and the destination takes the change of 10 but not yet the removal of 9.
	w.merge(9, 10)
	c.Policy.Tries = 1
	r.before = func(_ int, b body) (int, string) {
		if b.Operations[0].Op == destination.OpRemove {
			return http.StatusBadGateway, ""
		}
		return 0, ""
	}
	if report, failed := failure(t, c); report.Updated != 1 || report.Pending != 1 || failed.Reason != reasonRunFailed {
		t.Fatalf("report %+v, %v; want one change and one row pending", report, failed.Err)
	}
	r.before = nil
	r.reset()
	report = mustRun(t, c)
	want = map[string][]string{}
	if diff := cmp.Diff(want, r.log[0].Identifiers); report.Removed != 1 || len(r.log) != 1 || diff != "" {
		t.Errorf("report %+v; the removal names what the destination now holds under another id (-want +got):\n%s", report, diff)
	}
}

func TestDrainThatIsRefusedFails(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	w.know(people(1, 3)...)
	w.enter("vip", 1, 2, 3)
	c := config(t, conn, order("vip", r.URL))
	mustRun(t, c)
	r.reject = func(o destination.Operation) string {
		if o.ID == someone(2).id.String() {
			return "Locked"
		}
		return ""
	}
	c.Order.Drain = true
	report, failed := failure(t, c)
	if failed.Reason != reasonRowsRejected || report.Removed != 2 || report.Rejected != 1 || report.Members != 1 {
		t.Errorf("reason %q, report %+v: a drain must not say that everybody is out", failed.Reason, report)
	}
	r.reject = nil
	if report := mustRun(t, c); report.Removed != 1 || report.Members != 0 || len(r.held()) != 0 {
		t.Errorf("report %+v: a drain asks again for what was refused", report)
	}
}

func TestOrdersThatCannotRun(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	w.know(people(1, 2)...)
	w.enter("vip", 1, 2)
	good := config(t, conn, order("vip", r.URL))
	mustRun(t, good)
	for _, c := range []struct {
		why, reason string
		change      func(*Config)
	}{
		{"an audience that was never evaluated has no members yet, and to mirror that would empty the destination", reasonEvaluationFailed,
			func(c *Config) { c.Order.Audience = "unknown" }},
		{"a mode of a later release is not taken for Mirror", reasonInvalidSpec, func(c *Config) { c.Order.Mode = "Replace" }},
		{"an order without a Sync has no state of its own", reasonInvalidSpec, func(c *Config) { c.Order.Sync = "" }},
		{"a member without an id would be left out in silence", reasonPlatformNotReady, func(*Config) { w.enter("vip", 99) }},
	} {
		bad := good
		c.change(&bad)
		r.reset()
		if _, failed := failure(t, bad); failed.Reason != c.reason || r.requests > 0 {
			t.Errorf("%s: reason %q (%v) after %d requests, want %q", c.why, failed.Reason, failed.Err, r.requests, c.reason)
		}
	}
}

// A run that is told to stop says so, and gives its claim back: the next pod need not wait.
func TestStoppedRunReleasesItsClaim(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 50)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	c := config(t, conn, order("vip", r.URL))
	c.PageRows, c.Hold = 10, time.Hour
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r.after = func(n int, _ body) int {
		if n == 2 {
			stop()
		}
		return 0
	}
	_, err := Run(ctx, c)
	var failed *run.Failure
	if !errors.As(err, &failed) || failed.Fatal || failed.Reason != reasonRunFailed || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("a run that was told to stop ended with %v", err)
	}
	c.Host = "pod-2"
	if mustRun(t, c); len(r.held()) != 50 || r.rows > 60 {
		t.Errorf("the next run: the receiver holds %d of 50 after %d rows; at most a page of 10 is sent twice", len(r.held()), r.rows)
	}
}

// What the order says of the delivery goes before the defaults; also a destination that takes one customer at a time.
func TestDeliveryOfTheOrder(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 12)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	o := order("vip", r.URL)
	o.Delivery = &run.Delivery{BatchSize: 1, Interval: 20 * time.Millisecond}
	began := time.Now()
	if report := mustRun(t, config(t, conn, o)); report.Added != 12 || r.requests != 12 {
		t.Errorf("report %+v in %d requests, want 12 of one customer each", report, r.requests)
	}
	if took := time.Since(began); took < 11*20*time.Millisecond {
		t.Errorf("12 requests 20 ms apart took %s", took)
	}
	w.leave("vip", 1, 2)
	w.merge(3, 4)
	if report := mustRun(t, config(t, conn, o)); report.Removed != 3 || report.Updated != 1 || len(r.held()) != 9 {
		t.Errorf("report %+v, the receiver holds %d of 9", report, len(r.held()))
	}
	if got := (Config{}).under(&run.Delivery{Attempts: 9, MaxDelay: time.Minute, Patience: time.Hour}).Policy; got.Tries != 9 || got.Longest != time.Minute || got.Patience != time.Hour {
		t.Errorf("the policy is %+v", got)
	}
}

// Another mapping, or another place, makes other rows: everybody is sent again.
func TestChangedOrderSendsEverybodyAgain(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r, moved := newWorld(t, conn), newReceiver(t), newReceiver(t)
	w.know(people(1, 5)...)
	w.enter("vip", 1, 2, 3, 4, 5)
	o := order("vip", r.URL)
	mustRun(t, config(t, conn, o))
	o.Traits = map[string]string{"tariff": "plan", "visits": "visits", "nothing": "unknown"}
	o.Identifiers = []string{"email"}
	if report := mustRun(t, config(t, conn, o)); report.Updated != 5 {
		t.Errorf("report %+v, want 5 changes", report)
	}
	got := r.held()[someone(2).id.String()]
	want := destination.Operation{
		Op: destination.OpUpsert, ID: got.ID, Identifiers: map[string][]string{"email": {"p2@example.com"}},
		Traits: map[string]json.RawMessage{"tariff": []byte(`"free"`), "visits": []byte("2"), "nothing": []byte("null")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a member (-want +got):\n%s", diff)
	}
	o.Webhook = &run.Webhook{URL: moved.URL}
	if report := mustRun(t, config(t, conn, o)); report.Updated != 5 || len(moved.held()) != 5 {
		t.Errorf("report %+v: a receiver at another address has %d of 5", report, len(moved.held()))
	}
	w.leave("vip", 2)
	mustRun(t, config(t, conn, o))
	last := moved.log[len(moved.log)-1]
	if last.Op != destination.OpRemove || len(last.Identifiers["userId"]) != 1 {
		t.Errorf("the removal %+v does not name the user id, which was sent before", last)
	}
}

// The trait that is sent is the one that the profile shows, whatever ordinals its values were written under.
func TestLatestTraitIsSent(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	w.know(people(1, 2)...)
	w.merge(2, 1)
	w.enter("vip", 1)
	write := func(n uint64, value string, at time.Time, seq uint64) {
		w.insert("traits", column("profile", "UInt64", []uint64{n}), column("name", "String", []string{"plan"}), column("value", "String", []string{value}),
			column("occurred", "DateTime64(3, 'UTC')", []time.Time{at}), column("seq", "UInt64", []uint64{seq}))
	}
	late := start.Add(time.Hour)
	for _, c := range []struct {
		why, want string
		profile   uint64
		value     string
		at        time.Time
		seq       uint64
	}{
		{"later by its own time", `"a"`, 2, `"a"`, late, 5},
		{"of two at the same time the one that arrived last", `"b"`, 1, `"b"`, late, 6},
		{"what arrived last does not count if it is older", `"b"`, 2, `"c"`, late.Add(-time.Millisecond), 9},
		{"nor if a clock was wrong by a lifetime", `"b"`, 1, `"d"`, time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), 10},
		{"null takes it away", `null`, 2, `null`, late.Add(time.Second), 11},
	} {
		write(c.profile, c.value, c.at, c.seq)
		mustRun(t, config(t, conn, order("vip", r.URL)))
		if got := string(r.held()[someone(1).id.String()].Traits["tariff"]); got != c.want {
			t.Errorf("%s: %s was sent, want %s", c.why, got, c.want)
		}
	}
}

// A store with too little memory for an audience at once is asked for parts of it.
func TestStoreWithLittleMemory(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 500)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	store := &scarce{Conn: conn, parts: []string{whole().condition("toString(id)"), span{0, idSpace / 2}.condition("toString(id)")}}
	report := mustRun(t, config(t, store, order("vip", r.URL)))
	if store.asked != 5 { // the whole, its first half, two quarters, its second half
		t.Errorf("the store was asked %d times", store.asked)
	}
	if report.Added != 500 || len(r.held()) != 500 {
		t.Errorf("report %+v, the receiver holds %d of 500", report, len(r.held()))
	}
	store.parts = []string{"toString(id)"} // every one
	if _, failed := failure(t, config(t, store, order("vip", r.URL))); failed.Reason != reasonPlatformNotReady {
		t.Errorf("with no memory at all: %q, %v", failed.Reason, failed.Err)
	}
}

// scarce has no memory for the comparison of some spans.
type scarce struct {
	driver.Conn
	parts []string // of the queries that get a byte
	asked int
}

func (s *scarce) Query(ctx context.Context, query string, args ...any) (driver.Rows, error) {
	if strings.HasPrefix(query, "SELECT p.whose") {
		s.asked++
		if slices.ContainsFunc(s.parts, func(part string) bool { return strings.Contains(query, part) }) {
			ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_memory_usage": 1}))
		}
	}
	return s.Conn.Query(ctx, query, args...)
}

// A store that is killed and comes back during a run costs no row.
func TestStoreThatIsKilledDuringARun(t *testing.T) {
	store := storetest.StartWarehouse(t, warehouse.Config{})
	conn := warehousetest.Connect(t, store.URL, storetest.User, storetest.Password)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 60)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	c := config(t, conn, order("vip", r.URL))
	c.PageRows = 10
	r.after = func(n int, _ body) int {
		if n == 2 || n == 5 { // between a delivery and its record, twice
			store.Kill(t)
			store.Start(t)
		}
		return 0
	}
	report := mustRun(t, c)
	if report.Added != 60 || report.Members != 60 || r.rows != 60 || len(r.held()) != 60 {
		t.Errorf("report %+v after %d rows; the receiver holds %d of 60", report, r.rows, len(r.held()))
	}
	r.reset()
	if mustRun(t, c); r.requests > 0 {
		t.Errorf("the next run sent %d requests", r.requests)
	}
}
