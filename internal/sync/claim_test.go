package sync

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// isTakenOver says whether a run ended because another one took over.
func isTakenOver(err error) bool {
	var failure *run.Failure
	return errors.As(err, &failure) && failure.Reason == reasonRunFailed && !failure.Fatal
}

func TestNewerRunTakesOver(t *testing.T) {
	conn := warehousetest.Open(t)
	ctx := context.Background()
	newClaim := func(host string, hold time.Duration) *claim {
		clock := SystemClock()
		return &claim{state: &state{conn: conn, sync: t.Name(), now: clock.Now}, host: host, hold: hold, now: clock.Now, sleep: clock.Sleep}
	}
	old := newClaim("pod-1", 2*time.Second)
	if err := old.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	permitted, done, err := old.permit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer done()

	young := newClaim("pod-2", 2*time.Second)
	if err := young.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	if permitted.Err() == nil {
		t.Error("the newer run may send while a permission of the older one still lasts")
	}
	if young.state.epoch <= old.state.epoch {
		t.Errorf("the newer run has epoch %d, the older one %d", young.state.epoch, old.state.epoch)
	}
	if _, _, err := old.permit(ctx); !isTakenOver(err) {
		t.Errorf("the older run goes on after the newer one has begun: %v", err)
	}
	if err := young.release(ctx); err != nil {
		t.Fatal(err)
	}
	old.sentAt = time.Time{} // it wakes up when all is over
	if _, _, err := old.permit(ctx); !isTakenOver(err) {
		t.Errorf("the older run goes on after the newer one has ended: %v", err)
	}

	began := time.Now()
	next := newClaim("pod-3", time.Hour)
	if err := next.acquire(ctx); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("after a release the next run started with %v after %s; it need not wait", err, time.Since(began))
	}
	// Its process dies; the pod's next container has the same host name.
	again := newClaim("pod-3", time.Hour)
	if err := again.acquire(ctx); err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("after a restart in the same pod the run started with %v after %s; it need not wait", err, time.Since(began))
	}
}

// stalled is a destination that an older run hangs in until the newer one has begun to send.
type stalled struct {
	destination.Destination
	entered, leave chan struct{}
	calls          int
}

func (s *stalled) Deliver(ctx context.Context, b destination.Batch) ([]destination.Result, error) {
	if s.calls++; s.calls == 1 {
		close(s.entered)
		<-s.leave
	}
	return s.Destination.Deliver(ctx, b)
}

// Two runs of one Sync at a time: the older one stops, nothing of it arrives after the newer one has begun, and the
// receiver ends with the members.
func TestOverlappingRunsConverge(t *testing.T) {
	conn := warehousetest.Open(t)
	w, r := newWorld(t, conn), newReceiver(t)
	all := people(1, 40)
	w.know(all...)
	w.enter("vip", ordinals(all)...)
	older := config(t, conn, order("vip", r.URL))
	older.Hold, older.PageRows = time.Second, 10
	hang := &stalled{Destination: older.Destination, entered: make(chan struct{}), leave: make(chan struct{})}
	older.Destination = hang
	ended := make(chan error, 1)
	go func() {
		_, err := Run(context.Background(), older)
		ended <- err
	}()
	<-hang.entered

	w.leave("vip", 1, 2, 3)
	newer := config(t, conn, order("vip", r.URL))
	newer.Host, newer.Hold = "pod-2", time.Second
	mustRun(t, newer)
	r.reset()
	close(hang.leave)
	if err := <-ended; !isTakenOver(err) {
		t.Errorf("the older run ended with %v", err)
	}
	if r.requests > 0 {
		t.Errorf("%d requests of the older run arrived after the newer one had ended", r.requests)
	}
	if len(r.held()) != 37 {
		t.Errorf("the receiver holds %d members, want 37", len(r.held()))
	}
	if report := mustRun(t, newer); r.requests != 0 || report.Members != 37 {
		t.Errorf("a further run sent %d requests and reports %+v", r.requests, report)
	}
}

func TestLateRowsOfAnOlderRunDoNotCount(t *testing.T) {
	conn := warehousetest.Open(t)
	ctx, id := context.Background(), uuid.New()
	older := &state{conn: conn, sync: "s", epoch: 1, now: time.Now}
	newer := &state{conn: conn, sync: "s", epoch: 2, now: time.Now}
	for _, s := range []*state{newer, older} {
		if err := s.save(ctx, []change{{heldRow: heldRow{id: id, payload: s.epoch, status: statusDelivered, version: s.version()}}}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := newer.load(ctx, []uuid.UUID{id})
	if err != nil || rows[id] == nil || rows[id].payload != 2 {
		t.Errorf("after a late write of an older run the state is %+v, %v", rows[id], err)
	}
}
