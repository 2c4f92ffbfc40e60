package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/identity"
)

// Ingest moves the stream into the warehouse: events, who they belong to, what they say of customers, and what could not
// be taken in. Each acknowledged event ends in the table events exactly once, or in quarantine; an event whose messageId
// was stored before, from any source, is a duplicate and is counted.
//
// # How a crash at any point is recovered from
//
// Batches are cut at messages of the stream. For each, in this order:
//
//  1. plan: a row in ingest_log names the first and last message, the rules of identity, the terms (tracking plans and
//     windows, by hash; the table ingest_terms has them), and the next free profile.
//  2. store: the rows of the batch go into their tables, in any order.
//  3. done: another row in ingest_log.
//
// Whoever starts reads the log. A plan without its done is replayed: the same messages, the same rules and terms, the same next
// profile, and everything else that a decision rests on (which message ids were stored, whose an identifier is, what was
// merged) read as of the batch's first message, that is, leaving out every row that a later message wrote. So a replay
// comes to the same rows, however many of them were stored before the crash, and it does not matter which: rows of tables
// that only grow (events, message_ids, identity_edges, quarantine) carry a deduplication token made of the table and the
// batch's bounds, and the store drops what it has; rows of the others replace their equals. An insert is atomic for each
// partition that it touches, and its token is kept for each of them, so half an insert is completed.
//
// The position in the stream is kept nowhere else: it is what the log says is done.
//
// # How a second engine is fenced off
//
// There is one writer, by leader election; these are the defences for the moments in which there are two. A plan's token
// is made of its first message only, and whoever plans reads the log back: of two plans for one place the first counts,
// the other engine sees that its own was dropped, and starts again from the log, where it finds the batch to replay or
// done. Two engines that store the same plan store the same rows under the same tokens. What is left is an engine that
// was frozen between reading its plan back and inserting, for longer than the store remembers tokens (1,000 inserts into
// a table, over four minutes at the highest rate of batches); so a plan that was read more than half a minute ago is
// read again before each insert, and is given up when the log has it done.
type Ingest struct {
	config  Config
	metrics metrics
	// crash is called before each insert, with the table's name; an error is taken for the death of the process.
	crash func(point string) error
}

// Config is what an Ingest works with.
type Config struct {
	Conn      driver.Conn         // migrated
	JetStream jetstream.JetStream // with the stream made
	// Rules are the Platform's rules of identity now. It is called before each batch; a change holds from the next one.
	Rules func() []identity.Rule
	// Terms are the Sources' tracking plans and windows now, called as Rules is. Default none.
	Terms func() Terms
	// Window in which a messageId is stored once, for Sources whose terms say nothing else. Default 7 days, the stream's
	// default retention; at most LongestWindow.
	Window time.Duration
	Logger *slog.Logger
	Clock  func() time.Time // default time.Now

	// MaxEvents and MaxBytes of a batch, defaults 100,000 and 64 MiB. A batch ends after the message that passes one.
	MaxEvents, MaxBytes int
	// Linger is how long a batch waits for company after its first message. Default 250 ms.
	Linger time.Duration
}

// Defaults of Config.
const (
	defaultWindow    = 7 * 24 * time.Hour
	defaultMaxEvents = 100_000
	defaultMaxBytes  = 64 << 20
	defaultLinger    = 250 * time.Millisecond
)

// New makes an Ingest that is not running yet.
func New(config Config) *Ingest {
	if config.Window <= 0 {
		config.Window = defaultWindow
	}
	config.Window = min(config.Window, LongestWindow)
	if config.MaxEvents <= 0 {
		config.MaxEvents = defaultMaxEvents
	}
	if config.MaxBytes <= 0 {
		config.MaxBytes = defaultMaxBytes
	}
	if config.Linger <= 0 {
		config.Linger = defaultLinger
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Terms == nil {
		config.Terms = func() Terms { return Terms{} }
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Ingest{config: config, crash: func(string) error { return nil }}
}

// errCrash ends Run in tests as the death of the process would.
var errCrash = errors.New("crashed")

// errFenced says that another engine has planned or stored a batch.
var errFenced = errors.New("another engine is storing the stream")

// Run ingests until ctx ends, and then returns nil. Whatever fails is waited for and begun again from the log: the store
// and the stream may be away for any time.
func (i *Ingest) Run(ctx context.Context) error {
	const longest = 5 * time.Second
	delay := 100 * time.Millisecond
	for {
		began := i.config.Clock()
		err := i.session(ctx)
		switch {
		case errors.Is(err, errCrash):
			return err
		case ctx.Err() != nil:
			return nil //nolint:nilerr // what a stop interrupted is no failure
		}
		i.metrics.failed(err)
		i.config.Logger.Warn("ingestion was interrupted; beginning again from the log", "error", err.Error())
		if i.config.Clock().Sub(began) > time.Minute {
			delay = 100 * time.Millisecond
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil
		}
		delay = min(2*delay, longest)
	}
}

// session ingests from where the log ends, until something fails.
func (i *Ingest) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := ledger{conn: i.config.Conn, clock: i.config.Clock}
	at, err := log.read(ctx)
	if err != nil {
		return err
	}
	last, err := i.checkStream(ctx, at.done)
	if err != nil {
		return err
	}
	w, err := newWriter(ctx, i, log, at)
	if err != nil {
		return err
	}
	i.metrics.done.Store(at.done)
	i.metrics.seen.Store(at.done)
	i.metrics.pending.Store(last - at.done)

	batches := make(chan *batch)
	r := reader{config: i.config, metrics: &i.metrics}
	stopped := make(chan error, 1)
	go func() { stopped <- r.run(ctx, at, batches) }()
	defer func() { cancel(); <-stopped }() //nolint:errcheck // only its end matters now

	replay := at.unfinished
	for {
		select {
		case b := <-batches:
			if err := w.store(ctx, b, replay); err != nil {
				return err
			}
			replay = nil
		case err := <-stopped:
			stopped <- err // for the deferred wait
			if err == nil {
				err = errors.New("the reader of the stream has stopped")
			}
			return err
		}
	}
}

// checkStream gives the last message of the stream. It refuses a stream that is younger than the log: its messages would
// be taken for those that are stored.
func (i *Ingest) checkStream(ctx context.Context, done uint64) (last uint64, err error) {
	s, err := i.config.JetStream.Stream(ctx, streamName)
	if err != nil {
		return 0, fmt.Errorf("looking up stream %s: %w", streamName, err)
	}
	if last = s.CachedInfo().State.LastSeq; last < done {
		return 0, fmt.Errorf("stream %s ends at message %d and message %d is stored already: the stream was lost or made anew; restore it, or empty the warehouse too", streamName, last, done)
	}
	return last, nil
}

// Stats are counters since the process started, and where it is now.
type Stats struct {
	Stored      uint64 // events
	Duplicates  uint64 // events whose messageId was stored before
	Quarantined uint64
	Dropped     uint64 // events that a tracking plan has forgotten
	Violating   uint64 // events that broke their tracking plan, whatever became of them
	Batches     uint64
	Failures    uint64 // interruptions and failed tries
	Done        uint64 // place in the stream up to which all is stored
	Lag         uint64 // messages that are not
	// LastError is the latest interruption or failed try, empty when a batch was stored since.
	LastError string
}

// metrics are written by one goroutine each and read by any.
type metrics struct {
	stored, duplicates, quarantined, dropped, violating, batches, failures, done, seen, pending atomic.Uint64
	lastError                                                                                   atomic.Pointer[string]
}

func (m *metrics) failed(err error) {
	text := err.Error()
	m.failures.Add(1)
	m.lastError.Store(&text)
}

// Stats gives the counters; any goroutine may ask.
func (i *Ingest) Stats() Stats {
	m := &i.metrics
	s := Stats{
		Stored: m.stored.Load(), Duplicates: m.duplicates.Load(), Quarantined: m.quarantined.Load(),
		Dropped: m.dropped.Load(), Violating: m.violating.Load(),
		Batches: m.batches.Load(), Failures: m.failures.Load(), Done: m.done.Load(),
	}
	// What the reader has not seen, and what it has seen and is not stored.
	if seen := m.seen.Load(); seen > s.Done {
		s.Lag = seen - s.Done
	}
	s.Lag += m.pending.Load()
	if text := m.lastError.Load(); text != nil {
		s.LastError = *text
	}
	return s
}
