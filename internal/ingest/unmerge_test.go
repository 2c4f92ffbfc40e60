package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// whole is what is told of the customer whom an identifier names: identifiers, traits, events and accounts.
func whole(t *testing.T, conn driver.Conn, kind, value string) string {
	t.Helper()
	p, err := profile.Get(t.Context(), conn, kind, value, 100)
	if err != nil {
		t.Fatalf("%s:%s: %v", kind, value, err)
	}
	var ids, traits, events []string
	for kind, values := range p.Identifiers {
		for _, value := range values {
			ids = append(ids, kind+":"+value)
		}
	}
	for name, trait := range p.Traits {
		traits = append(traits, name+"="+string(trait.Value))
	}
	for _, e := range p.Events {
		events = append(events, e.MessageID)
	}
	accounts := texts(t, conn, fmt.Sprintf("SELECT account FROM account_members WHERE profile = %[1]d OR profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor = %[1]d) GROUP BY account ORDER BY 1", p.Ordinal))
	for _, list := range [][]string{ids, traits, events} {
		slices.Sort(list)
	}
	return strings.Join([]string{strings.Join(ids, " "), strings.Join(traits, " "), strings.Join(events, " "), strings.Join(accounts, " ")}, " | ")
}

func TestUnmerge(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	publish(t, js, cuts()[:2]...)
	conn := warehousetest.Open(t)
	n := uint64(len(story()))
	i := New(config(conn, js))
	start(t, i)
	await(t, i, n+2)
	before, err := profile.Get(t.Context(), conn, "userId", "u6", 0)
	if err != nil {
		t.Fatal(err)
	}
	is := func(why string, want map[string]string) {
		t.Helper()
		for id, text := range want {
			kind, value, _ := strings.Cut(id, ":")
			if diff := cmp.Diff(text, whole(t, conn, kind, value)); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", why, id, diff)
			}
		}
	}
	all := `anonymousId:g1 email:g@x.org userId:u6 | city="Rome" email="g@x.org" plan="pro" | g20 g21 i20 i21 m21 m22 | acme beta`
	is("before the cut", map[string]string{"userId:u6": all, "anonymousId:g1": all})

	publish(t, js, cuts()[2])
	await(t, i, n+3)
	user, device := `userId:u6 | city="Rome" plan="free" | g20 i20 m22 | acme`, `anonymousId:g1 email:g@x.org | email="g@x.org" plan="pro" | g21 i21 m21 | beta`
	is("after the cut", map[string]string{"userId:u6": user, "anonymousId:g1": device, "email:g@x.org": device, "id:" + before.ID: user})
	if left := texts(t, conn, "SELECT message_id FROM events GROUP BY message_id HAVING count() > 1"); len(left) > 0 {
		t.Errorf("events are there twice: %v", left)
	}

	publish(t, js, cuts()[3:]...)
	await(t, i, n+uint64(len(cuts())))
	is("what came later", map[string]string{
		"userId:u6":       `anonymousId:g2 userId:u6 | city="Rome" plan="free" | g20 i20 m22 m23 m25 | acme`,
		"anonymousId:g1":  `anonymousId:g1 email:g@x.org userId:u7 | email="g@x.org" plan="pro" | g21 i21 i24 i29 m21 m24 | beta`,
		"email:one@x.org": `email:one@x.org | email="one@X.org" | i4 | `,
	})
	if got := texts(t, conn, "SELECT concat(toString(role), ' ', reason) FROM identity_cuts WHERE role = 'refused'"); !cmp.Equal(got, []string{"refused NotOneProfile"}) {
		t.Errorf("refused: %v", got)
	}
	if got := texts(t, conn, "SELECT reason FROM quarantine WHERE source = '_identity'"); !cmp.Equal(got, []string{"MalformedMessage"}) {
		t.Errorf("in quarantine: %v", got)
	}
}

// stored takes in the stream up to a message, at least.
func stored(t *testing.T, conn driver.Conn, js jetstream.JetStream, last uint64) {
	t.Helper()
	i := New(config(conn, js))
	i.crash = func(string) error {
		if i.Stats().Done >= last {
			return errCrash
		}
		return nil
	}
	stop := start(t, i)
	await(t, i, last)
	if err := stop(); err != nil && !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
}

// Two engines that both believe to lead carry each unmerge out once.
func TestUnmergeByTwoEngines(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	publish(t, js, cuts()...)
	last := uint64(len(story()) + len(cuts()))
	smooth := warehousetest.Open(t)
	stored(t, smooth, js, last)
	conn := warehousetest.Open(t)
	stored(t, conn, js, uint64(len(story()))) // what TestTwoEnginesAtOnce is about
	both := []*Ingest{New(config(conn, js)), New(config(conn, js))}
	for _, i := range both {
		start(t, i)
	}
	for _, i := range both {
		await(t, i, last)
	}
	if diff := cmp.Diff(dump(t, smooth), dump(t, conn)); diff != "" {
		t.Errorf("tables (-one engine +two):\n%s", diff)
	}
}

// A process that dies at any point of an unmerge, one after the other, leaves the rows of a run in which nothing failed;
// batches hold as much as they can, and an unmerge is by itself all the same.
func TestUnmergeCrashesAtEveryPoint(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	publish(t, js, cuts()...)
	last := uint64(len(story()) + len(cuts()))
	smooth, conn := warehousetest.Open(t), warehousetest.Open(t)
	stored(t, smooth, js, last)
	done, step := uint64(len(story())), int64(0)
	stored(t, conn, js, done)
	died := map[string]int{}
	for runs := 0; done < last; runs++ {
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
		if runs > 800 {
			t.Fatalf("no progress: %+v", i.Stats())
		}
	}
	for _, point := range []string{
		"identity_cuts", "events", "remove traits", "traits", "remove account_members", "account_members", "profiles", "profile_identifiers", "identities",
		"remove profile_identifiers", "remove profiles", "remove events", "done",
	} {
		if died[point] == 0 {
			t.Errorf("no process died before %s: %v", point, died)
		}
	}
	if diff := cmp.Diff(dump(t, smooth), dump(t, conn)); diff != "" {
		t.Errorf("tables after crashes (-smooth +crashed):\n%s", diff)
	}
}

// An unmerge among many messages that are there at once divides them.
func TestUnmergeIsABatchByItself(t *testing.T) {
	js := newStream(t)
	publish(t, js, story()...)
	publish(t, js, cuts()...)
	conn := warehousetest.Open(t)
	c := config(conn, js)
	c.MaxEvents = 1000
	i := New(c)
	start(t, i)
	await(t, i, uint64(len(story())+len(cuts())))
	got := texts(t, conn, "SELECT concat(toString(first_seq), '-', toString(last_seq)) FROM ingest_log WHERE state = 'done' AND last_seq IN (SELECT seq FROM identity_cuts) AND first_seq < last_seq")
	if len(got) > 0 {
		t.Errorf("batches of an unmerge with other messages: %v", got)
	}
	if n := texts(t, conn, "SELECT toString(uniqExact(seq)) FROM identity_cuts"); !cmp.Equal(n, []string{"3"}) {
		t.Errorf("%v requests were decided, want 3", n)
	}
	want := `anonymousId:g1 email:g@x.org userId:u7 | email="g@x.org" plan="pro" | g21 i21 i24 i29 m21 m24 | beta`
	if diff := cmp.Diff(want, whole(t, conn, "anonymousId", "g1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A history of several pages is divided whole, also when it is interrupted between two of them.
func TestUnmergeOfALongHistory(t *testing.T) {
	const messages, perMessage = 4, 3_000
	js := newStream(t)
	publish(t, js, written(0, `{"type":"identify","messageId":"first","userId":"u","anonymousId":"a"}`))
	for m := range messages {
		var bodies []string
		for k := range perMessage {
			who := `"userId":"u"`
			if k%3 == 0 {
				who = `"anonymousId":"a"`
			}
			bodies = append(bodies, fmt.Sprintf(`{"type":"track","event":"Seen","messageId":"m%d-%d",%s}`, m, k, who))
		}
		publish(t, js, written(m, bodies...))
	}
	publish(t, js, unmerged(9, `{"type":"anonymousId","value":"a","fromType":"","fromValue":""}`))
	conn := warehousetest.Open(t)
	i := New(config(conn, js))
	pages := 0
	i.crash = func(at string) error {
		if i.Stats().Done == messages+1 && at == "events" {
			if pages++; pages > 1 {
				return errCrash
			}
		}
		return nil
	}
	if err := wait(t, i, messages+2); !errors.Is(err, errCrash) {
		t.Fatalf("it ended with %v, not between two pages", err)
	}
	i = New(config(conn, js))
	start(t, i)
	await(t, i, messages+2)
	got := texts(t, conn, "SELECT concat(if(user_id = '', anonymous_id, user_id), ' ', toString(uniqExact(profile)), ' ', toString(count()), ' ', toString(uniqExact(message_id))) FROM events GROUP BY if(user_id = '', anonymous_id, user_id) ORDER BY 1")
	if diff := cmp.Diff([]string{"a 1 4000 4000", "u 1 8001 8001"}, got); diff != "" {
		t.Errorf("who, profiles, events and messages (-want +got):\n%s", diff)
	}
	if n := texts(t, conn, "SELECT toString(uniqExact(profile)) FROM events"); !cmp.Equal(n, []string{"2"}) {
		t.Errorf("%v profiles have events, want 2", n)
	}
}
