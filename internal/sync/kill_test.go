package sync

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// childEnv tells this test binary to be a run; its value is a childOrder.
const childEnv = "KOHORT_SYNC_CHILD"

// childOrder is what a run in a process of its own is told.
type childOrder struct {
	URL, Credentials string
	Order            run.SyncOrder
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Fifty schedules take about fifteen seconds; -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "50"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func child(text string) error {
	var told childOrder
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := warehouse.Open(ctx, told.URL, told.Credentials)
	if err != nil {
		return err
	}
	hook, err := destination.NewWebhook(destination.WebhookConfig{
		URL: told.Order.Webhook.URL, Audience: told.Order.Audience, Sync: told.Order.Sync, Run: fmt.Sprint(told.Order.Slot.Unix()),
	})
	if err != nil {
		return err
	}
	c := DefaultConfig()
	c.Warehouse, c.Order, c.Destination, c.Host, c.Log = conn, told.Order, hook, "pod-1", quiet()
	c.Policy.First = time.Millisecond
	_, err = Run(ctx, c)
	return err
}

// process starts a run in a process of its own.
func process(t *testing.T, told childOrder) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+string(text)), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// redundant counts what a receiver was sent for nothing: rows that it held already just so, and rows to take out that it
// did not hold.
type redundant struct{ upserts, removals int }

func (x *redundant) watch(r *receiver) {
	r.reject = func(o destination.Operation) string {
		held, ok := r.members[o.ID]
		switch {
		case o.Op == destination.OpRemove && !ok:
			x.removals++
		case o.Op == destination.OpUpsert && ok && cmp.Equal(held, o):
			x.upserts++
		}
		return ""
	}
}

// A run that is killed at any moment goes on where it stopped: the receiver ends with exactly the members, and what it
// is sent twice is one page, under the same key.
func TestKilledRunsGoOnWhereTheyStopped(t *testing.T) {
	const rounds = 12
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	url, user, password := storetest.Warehouse(t)
	conn := warehousetest.Connect(t, url, user, password)
	w, r := newWorld(t, conn), newReceiver(t)
	told := childOrder{URL: url, Credentials: warehousetest.Credentials(t, user, password), Order: order("vip", r.URL)}
	model := map[uint64]person{}
	killed := 0
	for round := range rounds {
		disturb(w, model, random, uint64(round))
		told.Order.Slot = start.Add(time.Duration(round) * time.Hour)
		var twice redundant
		r.reset()
		twice.watch(r)
		killed += killOnce(t, r, told, random)
		r.before, r.after = nil, nil
		mustRun(t, config(t, conn, told.Order))
		if diff := cmp.Diff(wantedAt(model), r.held()); diff != "" {
			t.Fatalf("round %d: the receiver (-want +got):\n%s", round, diff)
		}
		if twice.upserts+twice.removals > maxPageRows {
			t.Errorf("round %d: %+v rows were sent for nothing, more than the page of %d that was not acknowledged", round, twice, maxPageRows)
		}
		keys := slices.Clone(r.keys)
		slices.Sort(keys)
		if replays := len(keys) - len(slices.Compact(keys)); (twice.upserts+twice.removals > 0) != (replays > 0) {
			t.Errorf("round %d: %+v rows were sent for nothing in %d requests whose key had been seen", round, twice, replays)
		}
		r.reset()
		if mustRun(t, config(t, conn, told.Order)); r.requests > 0 {
			t.Errorf("round %d: a run with nothing to do sent %d requests", round, r.requests)
		}
	}
	if killed < rounds/2 {
		t.Errorf("only %d of %d runs were killed before they ended: the test shows nothing", killed, rounds)
	}
}

// disturb changes about 2,000 customers: some enter, some leave, some change.
func disturb(w *world, model map[uint64]person, random *rand.Rand, round uint64) {
	w.t.Helper()
	first := round*1500 + 1
	fresh := people(first, first+1499)
	w.know(fresh...)
	w.enter("vip", ordinals(fresh)...)
	var leaving []uint64
	var changed []person
	for n, p := range model {
		switch random.IntN(8) {
		case 0:
			leaving = append(leaving, n)
			delete(model, n)
		case 1:
			p.traits = map[string]string{"plan": fmt.Sprintf(`"plan %d"`, round)}
			changed = append(changed, p)
			model[n] = p
		}
	}
	for _, p := range fresh {
		model[p.profile] = p
	}
	if len(leaving) > 0 {
		w.leave("vip", leaving...)
	}
	if len(changed) > 0 {
		w.know(changed...)
	}
}

// wantedAt is what a receiver of order() is to hold.
func wantedAt(model map[uint64]person) map[string]destination.Operation {
	all := map[string]destination.Operation{}
	for _, p := range model {
		plan := json.RawMessage("null")
		if value, ok := p.traits["plan"]; ok {
			plan = json.RawMessage(value)
		}
		all[p.id.String()] = destination.Operation{Op: destination.OpUpsert, ID: p.id.String(), Identifiers: p.identifiers,
			Traits: map[string]json.RawMessage{"tariff": plan}}
	}
	return all
}

// killOnce starts a run and kills it before, during or after a random request, or after a random time; it gives 1 when
// the run was killed and 0 when it ended before.
func killOnce(t *testing.T, r *receiver, told childOrder, random *rand.Rand) int {
	t.Helper()
	at, where := 1+random.IntN(4), random.IntN(4)
	late := time.Duration(random.IntN(40)) * time.Millisecond
	started := make(chan *os.Process, 1)
	kill := func() { p := <-started; _ = p.Kill(); started <- p }
	r.mu.Lock()
	r.before = func(n int, _ body) (int, string) {
		if n == at && where == 0 { // it was sent and not taken
			kill()
			return 503, ""
		}
		return 0, ""
	}
	r.after = func(n int, _ body) int {
		if n == at && where == 1 { // it was taken, and the answer does not arrive
			kill()
			return 503
		}
		if n == at && where == 2 { // it was answered; the process dies while it records that, or later
			time.AfterFunc(late, kill)
		}
		return 0
	}
	r.mu.Unlock()
	cmd := process(t, told)
	started <- cmd.Process
	if where == 3 { // wherever it is: opening, claiming, reading, recording
		time.AfterFunc(50*time.Millisecond+10*late, kill)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
		t.Fatalf("the run that was to be killed: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.after = nil, nil
	if err == nil {
		return 0
	}
	return 1
}
