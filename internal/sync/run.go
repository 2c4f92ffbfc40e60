package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
)

// Config is what a run needs.
type Config struct {
	Warehouse   driver.Conn
	Order       run.SyncOrder
	Destination destination.Destination
	// Host names the pod: no two processes that run at the same time have the same.
	Host   string
	Log    *slog.Logger
	Clock  Clock
	Policy Policy
	// PageRows is how many rows are sent, and recorded, at once: 1 to 500.
	PageRows int
	// Hold is how long a permission to send lasts; longer than a request may take. See claim.
	Hold time.Duration
	// Evaluation is how long to wait for the audience's first evaluation: an Audience and its Sync are often made at once.
	Evaluation time.Duration
}

// DefaultConfig gives the parts of a Config that are the same for every run.
func DefaultConfig() Config {
	return Config{
		Clock: SystemClock(), Policy: DefaultPolicy(), PageRows: maxPageRows,
		Hold: destination.RequestTimeout + 10*time.Second, Evaluation: time.Minute,
	}
}

// session is a run at work.
type session struct {
	Config
	rule     rule
	audience *audience
	state    *state
	sender   *sender
	claim    *claim
	tally    *tally
	// held : nobody is added or changed in this run.
	held bool
	// given has the customers that were tried in this run and could not be delivered: they are counted, and not tried twice.
	given map[uuid.UUID]bool
}

// Run delivers the difference between an audience and what its destination holds. The report is right also when it
// fails. It succeeds only if each row of the difference was delivered or rejected.
func Run(ctx context.Context, config Config) (run.Report, error) {
	order := config.Order
	if err := validate(order); err != nil {
		return run.Report{}, err
	}
	if config = config.under(order.Delivery); config.PageRows < 1 || config.PageRows > maxPageRows {
		return run.Report{}, fmt.Errorf("a page of %d rows: 1 to %d are possible", config.PageRows, maxPageRows)
	}
	holder := config.Destination.Holder()
	if order.Resync != "" { // as at another place nothing is there
		holder += "\n" + order.Resync
	}
	rule := rule{mode: order.Mode, holder: holderHash(holder), again: order.Resync != ""}
	s := &session{
		Config: config, rule: rule,
		audience: &audience{
			conn: config.Warehouse, name: order.Audience, types: order.Identifiers, traits: order.Traits,
			salt: saltOf(order.Traits, holder), sync: order.Sync, rule: rule, suppress: order.Suppress,
		},
		state: &state{conn: config.Warehouse, sync: order.Sync, now: config.Clock.Now},
		tally: newTally(),
		given: map[uuid.UUID]bool{},
	}
	s.claim = &claim{state: s.state, host: config.Host, hold: config.Hold, now: config.Clock.Now, sleep: config.Clock.Sleep}
	s.sender = &sender{
		destination: config.Destination, policy: config.Policy, clock: config.Clock, permit: s.claim.permit,
		batch: func(tasks []task) destination.Batch { return batch(order.Sync, order.Slot, tasks) },
	}
	if order.Delivery != nil {
		s.sender.pace.interval = order.Delivery.Interval
	}
	var report run.Report
	err := s.run(ctx, &report)
	s.tally.report(&report)
	report.Retried = s.sender.retried
	return report, explain(ctx, err)
}

func validate(order run.SyncOrder) error {
	switch {
	case order.Sync == "" || order.Audience == "":
		return run.Refuse(reasonInvalidSpec, "the order of the run names no sync or no audience")
	case !isMode(order.Mode):
		return run.Refuse(reasonInvalidSpec, "mode %q is not known; use one of %s", order.Mode, strings.Join(modes, ", "))
	}
	return nil
}

func (s *session) run(ctx context.Context, report *run.Report) (err error) {
	if err := s.claim.acquire(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
		defer cancel()
		if failure := s.claim.release(ctx); failure != nil { // the next run waits a moment longer
			s.Log.Warn("releasing the claim of the run", "error", failure)
		}
	}()
	if s.Order.Drain {
		err = s.drain(ctx)
	} else {
		err = s.follow(ctx, report)
	}
	if err != nil {
		return err
	}
	held, err := s.state.held(ctx)
	if err != nil {
		return err
	}
	report.Members = int64(held)
	if err := s.verdict(); err != nil {
		return err
	}
	return s.complete(ctx, report)
}

// complete tells the destination that everything was delivered, if it wants to know.
func (s *session) complete(ctx context.Context, report *run.Report) error {
	completer, ok := s.Destination.(destination.Completer)
	if !ok {
		return nil
	}
	err := completer.Complete(ctx, destination.Completion{Revision: report.Revision, Members: report.Members})
	var unavailable *destination.UnavailableError
	if errors.As(err, &unavailable) && ctx.Err() == nil {
		return run.Fail(destination.ReasonUnreachable, "everything was delivered, and it could not be said so: %w", err)
	}
	return err
}

// verdict says whether the run may call itself a success.
func (s *session) verdict() error {
	switch {
	case s.sender.isDone():
		failure := &run.Failure{Reason: reasonRunFailed}
		var unavailable *destination.UnavailableError
		if errors.As(s.sender.gaveUp, &unavailable) {
			failure.Reason = destination.ReasonUnreachable
		} else if known := (*run.Failure)(nil); errors.As(s.sender.gaveUp, &known) {
			failure.Reason, failure.Fatal = known.Reason, known.Fatal
		}
		failure.Err = fmt.Errorf("%w; %d rows are pending, and the next run starts with them", s.sender.gaveUp, s.tally.pending)
		return failure
	case s.tally.pending > 0:
		return run.Fail(reasonRunFailed, "%d rows could not be delivered, for each try of them failed: %s; the next run starts with them",
			s.tally.pending, s.tally.lastPending)
	case s.Order.Drain && s.tally.rejected() > 0:
		return run.Fail(reasonRowsRejected, "the destination refused to take out %d members; they are still there. Let it take them out, or set deletionPolicy: Retain on the Audience to leave them",
			s.tally.rejected())
	}
	return nil
}

// follow makes the destination hold what the mode asks for.
func (s *session) follow(ctx context.Context, report *run.Report) error {
	// The revision is read first: what is delivered is at least as new.
	revision, err := s.awaitEvaluation(ctx)
	if err != nil {
		return err
	}
	report.Revision = int64(revision)
	members, nameless, err := s.audience.size(ctx)
	if err != nil {
		return err
	}
	if nameless > 0 { // nothing was sent for them, and a success would hide it
		return run.Fail(reasonPlatformNotReady, "%d members of audience %s have no profile id in the store; it may be half restored: look at the Platform's engine", nameless, s.audience.name)
	}
	kept, err := s.audience.suppressed(ctx)
	if err != nil {
		return err
	}
	report.Suppressed = int64(kept)
	rows, open, err := s.state.size(ctx)
	if err != nil {
		return err
	}
	parts := spans(max(members, rows))
	unknown := checkSuppression(ctx, s.Warehouse, s.Order)
	var failure *run.Failure
	if unknown != nil && !errors.As(unknown, &failure) {
		return unknown // the store did not answer
	}
	s.held = unknown != nil || s.Order.Hold
	if rows > 0 {
		for _, part := range parts {
			if err := s.removeLeavers(ctx, part); err != nil {
				return err
			}
		}
	}
	if s.held {
		return unknown
	}
	if open > 0 {
		if err := s.deliverPending(ctx); err != nil {
			return err
		}
	}
	for _, part := range parts {
		if err := s.deliverDifference(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// drain takes everything out.
func (s *session) drain(ctx context.Context) error {
	rows, _, err := s.state.size(ctx)
	if err != nil {
		return err
	}
	for _, part := range spans(rows) {
		if err := s.removeAll(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// awaitEvaluation gives the audience's revision. An audience that was never evaluated has no members yet; to mirror that
// would empty the destination.
func (s *session) awaitEvaluation(ctx context.Context) (uint64, error) {
	deadline := s.Clock.Now().Add(s.Evaluation)
	for {
		revision, err := s.audience.revision(ctx)
		if err != nil || revision > 0 {
			return revision, err
		}
		if !s.Clock.Now().Before(deadline) {
			return 0, run.Fail(reasonEvaluationFailed, "audience %s has not been evaluated yet, so its members are not known; see its condition Evaluated", s.audience.name)
		}
		if err := s.Clock.Sleep(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

// deliver records what is about to be sent, sends it page by page, and records after each how its rows ended.
func (s *session) deliver(ctx context.Context, tasks []task) error {
	if s.sender.isDone() { // nothing is sent, so nothing is recorded: the rows are in the next difference
		s.tally.leave(len(tasks))
		return nil
	}
	var intents []change
	for i := range tasks {
		if !tasks[i].recorded() {
			intents = append(intents, change{heldRow: tasks[i].intent})
		}
	}
	if err := s.state.save(ctx, intents); err != nil {
		return err
	}
	for _, page := range pages(tasks, s.PageRows) {
		outcomes := make([]outcome, len(page))
		failure := s.sender.send(ctx, page, outcomes)
		if s.sender.hopeless {
			acquit(outcomes, s.sender.gaveUp)
		}
		if err := s.settle(ctx, page, outcomes); err != nil {
			return errors.Join(failure, err)
		}
		if failure != nil {
			return failure
		}
	}
	return nil
}

// acquit makes pending what was rejected: the rows were not to blame.
func acquit(outcomes []outcome, why error) {
	for i := range outcomes {
		if outcomes[i].kind == rejected {
			outcomes[i] = outcome{kind: pending, reason: why.Error()}
		}
	}
}

// settle records and counts how the rows of a page ended.
func (s *session) settle(ctx context.Context, page []task, outcomes []outcome) error {
	var changes []change
	version := s.state.version()
	for i := range page {
		if row, ok := page[i].record(outcomes[i], version, s.rule.holder); ok {
			changes = append(changes, row)
		}
	}
	if err := s.state.save(ctx, changes); err != nil {
		return fmt.Errorf("after a delivery: %w", err)
	}
	for i := range page {
		s.tally.end(page[i].action, outcomes[i])
		if outcomes[i].kind == pending {
			s.given[page[i].intent.id] = true
		}
	}
	return nil
}
