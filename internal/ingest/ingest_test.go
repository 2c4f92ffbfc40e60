package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/trackingplan"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// config cuts a batch at each message, so that runs can be compared row by row.
func config(conn driver.Conn, js jetstream.JetStream) Config {
	return Config{Conn: conn, JetStream: js, Rules: rules, MaxEvents: 1, Linger: time.Millisecond, Window: 14 * 24 * time.Hour}
}

// smooth stores the story without any failure.
func smooth(t *testing.T, config func(driver.Conn, jetstream.JetStream) Config, js jetstream.JetStream) map[string][]string {
	t.Helper()
	conn := warehousetest.Open(t)
	i := New(config(conn, js))
	stop := start(t, i)
	await(t, i, uint64(len(story())))
	if err := stop(); err != nil {
		t.Fatalf("Run returned %v after its context ended", err)
	}
	return dump(t, conn)
}

func TestStoryIsStored(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	conn := warehousetest.Open(t)
	i := New(config(conn, js))
	start(t, i)
	await(t, i, uint64(len(story())))

	// 15 track events, 5 identify, 1 alias; one of them belongs to nobody. One event comes out of quarantine, three times.
	if s := i.Stats(); s.Stored != 21 || s.Duplicates != 5 || s.Quarantined != 5 || s.Lag != 0 || s.Failures != 0 {
		t.Errorf("stats are %+v", s)
	}
	if got := texts(t, conn, "SELECT message_id FROM events GROUP BY message_id HAVING count() > 1"); len(got) > 0 {
		t.Errorf("stored twice: %v", got)
	}
	quarantine := texts(t, conn, "SELECT concat(stage, '/', reason) FROM quarantine ORDER BY 1")
	if diff := cmp.Diff([]string{"identity/NoIdentifier", "parse/InvalidJSON", "parse/MalformedMessage", "parse/MissingField", "parse/MissingField"}, quarantine); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	who := func(kind, value string) string {
		rows := texts(t, conn, fmt.Sprintf(`SELECT toString(if(o.survivor = 0, i.profile, o.survivor)) FROM identities AS i
			LEFT ANY JOIN (SELECT * FROM profile_overrides FINAL) AS o ON o.profile = i.profile WHERE type = '%s' AND value = '%s'`, kind, value))
		return strings.Join(rows, ",")
	}
	for _, c := range []struct {
		why  string
		same [][2]string
	}{
		{"u1 logged in on a1 and a2, and has the e-mail of e1", [][2]string{{"userId", "u1"}, {"anonymousId", "a1"}, {"anonymousId", "a2"}, {"email", "one@x.org"}}},
		{"u3 brought b1 and b2 together in one batch", [][2]string{{"userId", "u3"}, {"anonymousId", "b1"}, {"anonymousId", "b2"}}},
		{"u5 is d1 by alias and d2 by login", [][2]string{{"userId", "u5"}, {"anonymousId", "d1"}, {"anonymousId", "d2"}}},
	} {
		first := who(c.same[0][0], c.same[0][1])
		for _, id := range c.same {
			if got := who(id[0], id[1]); got != first || got == "" {
				t.Errorf("%s: %v is %q, %v is %q", c.why, c.same[0], first, id, got)
			}
		}
	}
	if who("userId", "u1") == who("userId", "u2") {
		t.Errorf("two users on one device were taken for one")
	}
	if got := who("anonymousId", "a4"); got != "" {
		t.Errorf("a fourth anonymous id was attached to %s, over the limit of three", got)
	}
}

// Every event that a tracking plan refuses is in quarantine or dropped as it says, and none of them makes a duplicate of
// another; a crash or a second engine changes nothing about it.
func TestPlansAreFollowed(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	conn := warehousetest.Open(t)
	i := New(planned(t)(conn, js))
	start(t, i)
	await(t, i, uint64(len(story())))
	// Events 1, 2 and 3 are there twice and refused each time; identify i1 has a plan that is not planned.
	if s := i.Stats(); s.Stored != 17 || s.Duplicates != 2 || s.Quarantined != 12 || s.Dropped != 0 || s.Violating != 7 {
		t.Errorf("stats are %+v", s)
	}
	got := texts(t, conn, "SELECT concat(event, ' ', field, ' ', rule, ' ', action, ' ', toString(sum(events))) FROM violations GROUP BY event, field, rule, action ORDER BY 1")
	want := []string{"Identify /plan enum Quarantine 1", "Seen /n minimum Quarantine 6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

// planned is config with a tracking plan for the story.
func planned(t *testing.T) func(driver.Conn, jetstream.JetStream) Config {
	t.Helper()
	plan, err := trackingplan.Compile(&v1alpha1.TrackingPlan{
		Events:      []v1alpha1.PlannedEvent{{Name: "Seen", Schema: &apiextensionsv1.JSON{Raw: []byte(`{"properties":{"n":{"minimum":4}}}`)}}},
		Traits:      &apiextensionsv1.JSON{Raw: []byte(`{"properties":{"plan":{"enum":["pro","trial"]}}}`)},
		OnViolation: v1alpha1.ViolationQuarantine,
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(conn driver.Conn, js jetstream.JetStream) Config {
		c := config(conn, js)
		c.Terms = func() Terms { return Terms{map[string]SourceTerms{"web": {Plan: plan}}} }
		return c
	}
}

// points are all the places where a process may die.
var points = []string{
	"plan", "profiles", "identities", "profile_identifiers", "profile_overrides", "identity_edges", "traits", "quarantine", "violations", "quarantine_released", "message_ids", "events", "done",
}

// In every batch a process dies before the first insert, the next one before the second, and so on, until one has nothing
// left to die at. In the end the tables are those of a run in which nothing failed.
func TestCrashAtEveryPoint(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	config := planned(t)
	want := smooth(t, config, js)
	conn := warehousetest.Open(t)
	died := map[string]int{}
	done, step := uint64(0), int64(0)
	for runs := 0; done < uint64(len(story())); runs++ {
		var calls atomic.Int64
		var point atomic.Pointer[string]
		i := New(config(conn, js))
		i.crash = func(at string) error {
			if calls.Add(1) <= step {
				return nil
			}
			point.CompareAndSwap(nil, &at)
			return errCrash
		}
		if err := wait(t, i, done+1); errors.Is(err, errCrash) {
			died[*point.Load()]++
		} else if err != nil {
			t.Fatalf("run %d: %v", runs, err)
		}
		if now := i.Stats().Done; now > done {
			done, step = now, 0
		} else {
			step++
		}
		if runs > 500 {
			t.Fatalf("no progress: %+v", i.Stats())
		}
	}
	for _, point := range points {
		if died[point] == 0 {
			t.Errorf("no process died before %s: %v", point, died)
		}
	}
	if diff := cmp.Diff(want, dump(t, conn)); diff != "" {
		t.Errorf("tables after crashes (-smooth +crashed):\n%s", diff)
	}
}

// wait runs an Ingest until it has stored all, or died.
func wait(t *testing.T, i *Ingest, last uint64) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	for i.Stats().Done < last {
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Millisecond):
		}
	}
	cancel()
	return <-ended
}

// Two engines that both believe to lead store everything once.
func TestTwoEnginesAtOnce(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	config := planned(t)
	want := smooth(t, config, js)
	conn := warehousetest.Open(t)
	both := []*Ingest{New(config(conn, js)), New(config(conn, js))}
	for _, i := range both {
		start(t, i)
	}
	for _, i := range both {
		await(t, i, uint64(len(story())))
	}
	if diff := cmp.Diff(want, dump(t, conn)); diff != "" {
		t.Errorf("tables (-one engine +two):\n%s", diff)
	}
}

// An engine that was frozen after it had planned a batch finds it done by another, and lets it be, also when the store
// has forgotten the tokens.
func TestFrozenEngine(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()[:2]...)
	conn := warehousetest.Open(t)
	var ahead atomic.Int64
	frozen := New(config(conn, js))
	frozen.config.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	asleep, awake := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	frozen.crash = func(point string) error {
		if point == "events" && once.CompareAndSwap(false, true) {
			close(asleep)
			<-awake
		}
		return nil
	}
	start(t, frozen)
	<-asleep
	other := New(config(conn, js))
	start(t, other)
	await(t, other, 2)
	want := dump(t, conn)
	// Forget the tokens: a table of the same rows that has seen none of them.
	for _, statement := range []string{
		"CREATE TABLE events2 AS events", "INSERT INTO events2 SELECT * FROM events", "EXCHANGE TABLES events AND events2",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ahead.Store(int64(time.Hour))
	close(awake)
	await(t, frozen, 2)
	if diff := cmp.Diff(want, dump(t, conn)); diff != "" {
		t.Errorf("tables after the frozen engine woke (-before +after):\n%s", diff)
	}
	if s := frozen.Stats(); s.Failures == 0 {
		t.Errorf("the frozen engine did not notice: %+v", s)
	}
}

func TestRulesMayChange(t *testing.T) {
	js := newStream(t)
	conn := warehousetest.Open(t)
	var only atomic.Pointer[string]
	c := config(conn, js)
	current := rules
	c.Rules = func() (r []identity.Rule) {
		r = current()
		if kind := only.Load(); kind != nil {
			r = slices.DeleteFunc(r, func(r identity.Rule) bool { return r.Type != *kind })
		}
		return r
	}
	i := New(c)
	start(t, i)
	publish(t, js, written(0, `{"type":"track","event":"x","messageId":"1","userId":"u","anonymousId":"a"}`))
	await(t, i, 1)
	kind := "anonymousId"
	only.Store(&kind)
	publish(t, js, written(1, `{"type":"track","event":"x","messageId":"2","userId":"v","anonymousId":"a"}`, `{"type":"track","event":"x","messageId":"3","userId":"v"}`))
	await(t, i, 2)
	if got := texts(t, conn, "SELECT concat(message_id, ':', toString(profile)) FROM events ORDER BY message_id"); !slices.Equal(got, []string{"1:1", "2:1"}) {
		t.Errorf("events are %v: with anonymousId alone, 2 belongs to 1's profile and 3 to nobody", got)
	}
}

func TestStreamThatWasMadeAnew(t *testing.T) {
	js := newStream(t)
	conn := warehousetest.Open(t)
	publish(t, js, story()...)
	i := New(config(conn, js))
	stop := start(t, i)
	await(t, i, uint64(len(story())))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	empty := newStream(t)
	again := New(config(conn, empty))
	start(t, again)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(again.Stats().LastError, "made anew") {
		if time.Now().After(deadline) {
			t.Fatalf("a stream that ends before what is stored was taken: %+v", again.Stats())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
