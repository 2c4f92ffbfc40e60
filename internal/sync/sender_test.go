package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
)

// script is a destination whose answers are written down.
type script struct {
	answer func(call int, b destination.Batch) ([]destination.Result, error)
	sizes  []int
	keys   []string
}

func (s *script) Deliver(_ context.Context, b destination.Batch) ([]destination.Result, error) {
	s.sizes, s.keys = append(s.sizes, len(b.Operations)), append(s.keys, b.Key)
	return s.answer(len(s.sizes), b)
}

func (s *script) Holder() string { return "script" }
func (s *script) Close() error   { return nil }

// slept is a clock that only moves when somebody sleeps.
type slept struct {
	now    time.Time
	pauses []time.Duration
}

func (s *slept) clock() Clock {
	return Clock{
		Now: func() time.Time { return s.now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			s.now, s.pauses = s.now.Add(d), append(s.pauses, d)
			return ctx.Err()
		},
	}
}

func newSender(d destination.Destination, clock Clock) *sender {
	return &sender{
		destination: d, policy: DefaultPolicy(), clock: clock,
		permit: func(ctx context.Context) (context.Context, context.CancelFunc, error) { return ctx, func() {}, nil },
		batch:  func(tasks []task) destination.Batch { return batch("s", start, tasks) },
	}
}

// numbered makes tasks to add customers 1 to n.
func numbered(n int) []task {
	var tasks []task
	version := uint64(0)
	for i := range n {
		p := someone(uint64(i + 1))
		m := &member{wanted: wanted{profile: p.profile, id: p.id, payload: uint64(i) + 10}, identifiers: p.identifiers}
		tasks = append(tasks, newTask(add, m, nil, nil, func() uint64 { version++; return version }))
	}
	return tasks
}

func has(b destination.Batch, n uint64) bool {
	id := someone(n).id.String()
	return slices.ContainsFunc(b.Operations, func(o destination.Operation) bool { return o.ID == id })
}

func TestSender(t *testing.T) {
	unavailable := func(u destination.UnavailableError) error { u.Err = errors.New("away"); return &u }
	refuse := &destination.RefusedError{Reason: "HTTP422", Message: "no"}
	ok := func(b destination.Batch) ([]destination.Result, error) {
		return make([]destination.Result, len(b.Operations)), nil
	}
	for _, c := range []struct {
		name, why string
		answer    func(call int, b destination.Batch) ([]destination.Result, error)
		kinds     string // of the outcomes of eight tasks: d, r, p
		sizes     []int
		retried   int64
		gaveUp    string
	}{
		{
			name: "well", why: "one request, each row delivered",
			answer: func(_ int, b destination.Batch) ([]destination.Result, error) { return ok(b) },
			kinds:  "dddddddd", sizes: []int{8},
		},
		{
			name: "named", why: "a rejected row in the answer is that row's, and not sent again",
			answer: func(_ int, b destination.Batch) ([]destination.Result, error) {
				results, err := ok(b)
				results[2] = destination.Result{Rejected: true, Reason: "InvalidEmail"}
				return results, err
			},
			kinds: "ddrddddd", sizes: []int{8},
		},
		{
			name: "passing", why: "what passes by itself is sent again as it was",
			answer: func(call int, b destination.Batch) ([]destination.Result, error) {
				if call < 3 {
					return nil, unavailable(destination.UnavailableError{})
				}
				return ok(b)
			},
			kinds: "dddddddd", sizes: []int{8, 8, 8}, retried: 2,
		},
		{
			name: "refused", why: "a refusal that names no row is narrowed down to the row, in order",
			answer: func(_ int, b destination.Batch) ([]destination.Result, error) {
				if has(b, 6) {
					return nil, refuse
				}
				return ok(b)
			},
			kinds: "dddddrdd", sizes: []int{8, 4, 4, 2, 1, 1, 2},
		},
		{
			name: "poison", why: "a row that breaks the receiver is found, left for the next run, and holds no other up",
			answer: func(_ int, b destination.Batch) ([]destination.Result, error) {
				if has(b, 8) {
					return nil, unavailable(destination.UnavailableError{})
				}
				return ok(b)
			},
			kinds: "dddddddp", sizes: []int{8, 8, 8, 8, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1}, retried: 12,
		},
		{
			name: "down", why: "nothing that answers is no reason to cut batches, and two minutes are enough",
			answer: func(int, destination.Batch) ([]destination.Result, error) {
				return nil, unavailable(destination.UnavailableError{Unconnected: true})
			},
			kinds: "pppppppp", gaveUp: "away",
		},
		{
			name: "asks for an hour", why: "a destination that wants to be left alone for longer than a run waits is left alone at once",
			answer: func(int, destination.Batch) ([]destination.Result, error) {
				return nil, unavailable(destination.UnavailableError{Overloaded: true, After: time.Hour})
			},
			kinds: "pppppppp", sizes: []int{8}, gaveUp: "away",
		},
		{
			name: "login", why: "what only a person can change is not tried again",
			answer: func(int, destination.Batch) ([]destination.Result, error) {
				return nil, run.Refuse("DestinationUnreachable", "refuses the token")
			},
			kinds: "pppppppp", sizes: []int{8}, gaveUp: "refuses the token",
		},
		{
			name: "short answer", why: "an answer that does not account for each row accounts for none",
			answer: func(int, destination.Batch) ([]destination.Result, error) {
				return make([]destination.Result, 7), nil
			},
			kinds: "pppppppp", sizes: []int{8}, gaveUp: "7 rows of 8",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, clock := &script{answer: c.answer}, &slept{now: start}
			s := newSender(d, clock.clock())
			outcomes := make([]outcome, 8)
			if err := s.send(context.Background(), numbered(8), outcomes); err != nil {
				t.Fatalf("%s: %v", c.why, err)
			}
			kinds := ""
			for _, o := range outcomes {
				kinds += string("pdr"[o.kind])
			}
			if kinds != c.kinds {
				t.Errorf("%s: outcomes %s, want %s", c.why, kinds, c.kinds)
			}
			if c.sizes != nil && !slices.Equal(d.sizes, c.sizes) {
				t.Errorf("%s: requests of %v rows, want %v", c.why, d.sizes, c.sizes)
			}
			if c.sizes != nil && s.retried != c.retried {
				t.Errorf("%s: %d retried, want %d", c.why, s.retried, c.retried)
			}
			if (s.gaveUp != nil) != (c.gaveUp != "") || s.gaveUp != nil && !strings.Contains(s.gaveUp.Error(), c.gaveUp) {
				t.Errorf("%s: gave up because of %v, want %q", c.why, s.gaveUp, c.gaveUp)
			}
			if waited := clock.now.Sub(start); waited > s.policy.Patience {
				t.Errorf("%s: waited %s in all, longer than the patience of %s", c.why, waited, s.policy.Patience)
			}
		})
	}
}

func TestSenderWaitsAsLongAsItIsAskedTo(t *testing.T) {
	d := &script{answer: func(call int, b destination.Batch) ([]destination.Result, error) {
		if call == 1 {
			return nil, &destination.UnavailableError{After: 7 * time.Second, Overloaded: true, Err: errors.New("slow down")}
		}
		return make([]destination.Result, len(b.Operations)), nil
	}}
	clock := &slept{now: start}
	if err := newSender(d, clock.clock()).send(context.Background(), numbered(1), make([]outcome, 1)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(clock.pauses, []time.Duration{7 * time.Second}) {
		t.Errorf("paused %v, want the 7 s of Retry-After", clock.pauses)
	}
	if d.keys[0] != d.keys[1] {
		t.Errorf("the same batch was sent under the keys %q and %q", d.keys[0], d.keys[1])
	}
}

// A destination that refuses everything is not held against the rows, which would be remembered and never sent again.
func TestSenderDoesNotBlameRowsForAHopelessDestination(t *testing.T) {
	d := &script{answer: func(int, destination.Batch) ([]destination.Result, error) {
		return nil, &destination.RefusedError{Reason: "HTTP400", Message: "the receiver answered 400 Bad Request"}
	}}
	s := newSender(d, (&slept{now: start}).clock())
	outcomes := make([]outcome, 300)
	if err := s.send(context.Background(), numbered(300), outcomes); err != nil {
		t.Fatal(err)
	}
	acquit(outcomes, s.gaveUp)
	if i := slices.IndexFunc(outcomes, func(o outcome) bool { return o.kind != pending }); i >= 0 || !s.hopeless {
		t.Errorf("row %d of a destination that refuses everything is not pending (hopeless: %v)", i, s.hopeless)
	}
	var failure *run.Failure
	if !errors.As(s.gaveUp, &failure) || failure.Reason != reasonRowsRejected || !failure.Fatal {
		t.Errorf("gave up with %v", s.gaveUp)
	}
	if len(d.sizes) > 220 {
		t.Errorf("%d requests were needed to see that everything is refused", len(d.sizes))
	}
}

func TestPagesKeepOrderAndLimits(t *testing.T) {
	tasks := numbered(7)
	big := func(i int, bytes int) {
		tasks[i].op.Identifiers = map[string][]string{"email": {strings.Repeat("x", bytes)}}
	}
	big(2, pageBytes+1)
	big(4, pageBytes/2)
	big(5, pageBytes/2)
	var sizes []int
	var ids []uuid.UUID
	for _, page := range pages(tasks, 2) {
		sizes = append(sizes, len(page))
		for _, one := range page {
			ids = append(ids, one.intent.id)
		}
	}
	if diff := cmp.Diff([]int{2, 1, 2, 2}, sizes); diff != "" {
		t.Errorf("rows per page: two at most, the giant alone, the halves apart (-want +got):\n%s", diff)
	}
	for i, id := range ids {
		if id != tasks[i].intent.id {
			t.Fatalf("row %d is out of order", i)
		}
	}
}

// A run keeps to its share of the rate, also with retries and with batches that take several requests.
func TestSenderKeepsItsPace(t *testing.T) {
	clock := &slept{now: start}
	var at []time.Duration
	s := newSender(&script{answer: func(call int, b destination.Batch) ([]destination.Result, error) {
		at = append(at, clock.now.Sub(start))
		if call == 2 {
			return nil, &destination.UnavailableError{Overloaded: true, After: 7 * time.Second, Err: errors.New("busy")}
		}
		return make([]destination.Result, len(b.Operations)), nil
	}}, clock.clock())
	s.pace.interval = 2 * time.Second
	for range 3 {
		if err := s.send(t.Context(), numbered(1), make([]outcome, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []time.Duration{0, 2 * time.Second, 9 * time.Second, 11 * time.Second}; !slices.Equal(at, want) {
		t.Errorf("batches were sent at %v, want %v", at, want)
	}
	s.pace.spend(3, clock.now)
	if err := s.pace.wait(t.Context(), s.clock); err != nil || clock.now.Sub(start) != 19*time.Second {
		t.Errorf("after a batch of three requests the next is at %v (%v), want 13 s and three intervals", clock.now.Sub(start), err)
	}
}

func TestKeyTellsPayloadsApart(t *testing.T) {
	key := func(version uint64, prior *heldRow, payload uint64) string {
		m := &member{wanted: wanted{id: someone(1).id, payload: payload}}
		return batch("s", start, []task{newTask(add, m, prior, nil, func() uint64 { return version })}).Key
	}
	first := key(5, nil, 10)
	if want := fmt.Sprintf("s/%d/", start.Unix()); !strings.HasPrefix(first, want) {
		t.Errorf("key %q does not start with %q", first, want)
	}
	pendingRow := &heldRow{id: someone(1).id, status: statusPending, reason: add.reason(), payload: 10, version: 5}
	if again := key(9, pendingRow, 10); again != first {
		t.Errorf("the same row sent again after a crash has key %q and had %q", again, first)
	}
	if other := key(9, pendingRow, 11); other == first {
		t.Error("another payload has the key of the one before: a receiver that drops repetitions would lose it")
	}
}
