package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Errors of Publish that a caller tells apart. All but ErrTooLarge may go away by themselves.
var (
	// ErrOverloaded says that more bytes wait for acknowledgement than allowed.
	ErrOverloaded = errors.New("too much is waiting for the stream to acknowledge")
	// ErrUnavailable says that the stream does not acknowledge at present: it is away, or its disk is full.
	ErrUnavailable = errors.New("the stream does not acknowledge")
	// ErrClosed says that the publisher is shutting down.
	ErrClosed = errors.New("the publisher is closed")
	// ErrTooLarge says that a record does not fit in a message.
	ErrTooLarge = errors.New("the record is larger than a message of the stream may be")
)

// headroom is kept in a message for its headers and the envelope.
const headroom = 4 << 10

// Commit is one message that was handed to the stream: stored when Err is nil.
type Commit struct {
	Records int
	Bytes   int
	Took    time.Duration
	Err     error
}

// PublisherOptions bound a Publisher. A zero field means its default.
type PublisherOptions struct {
	// Committers is how many messages may be on their way at once. Default 3: one is being synced to disk, one waits for
	// that at the server, and one is on the network. More make groups smaller, and so syncs more: with 8 an event cost
	// the stream a tenth (batches) to a half (single events) more processor time.
	Committers int
	// GroupBytes closes a group to further records. Default 512 KiB: larger writes gain no throughput and cost latency.
	GroupBytes int
	// PendingBytes may wait for acknowledgement; beyond it Publish refuses. Default 32 MiB.
	PendingBytes int
	// AckWait is the time for one try. Default 3 s.
	AckWait time.Duration
	// GiveUp is the time for all tries of a message. Default 8 s, below the 10 s that SDKs wait for an answer.
	GiveUp time.Duration
	// Observe is told of each commit, from the committers' goroutines. May be nil.
	Observe func(Commit)
}

func (o PublisherOptions) withDefaults() PublisherOptions {
	if o.Committers == 0 {
		o.Committers = 3
	}
	if o.GroupBytes == 0 {
		o.GroupBytes = 512 << 10
	}
	if o.PendingBytes == 0 {
		o.PendingBytes = 32 << 20
	}
	if o.AckWait == 0 {
		o.AckWait = 3 * time.Second
	}
	if o.GiveUp == 0 {
		o.GiveUp = 8 * time.Second
	}
	if o.Observe == nil {
		o.Observe = func(Commit) {}
	}
	return o
}

// Publisher writes records to the stream and returns once they are on the server's disk. It commits in groups without
// a timer: while messages are on their way, records gather in the next one. JetStream syncs once per message, so the
// group is what makes synced writes cheap.
//
// A message that fails is tried again under the same Nats-Msg-Id, so that one that was stored without its
// acknowledgement arriving is not stored twice. When a message cannot be stored the Publisher refuses at once, instead
// of keeping callers waiting, until a probe (a message without records) is stored again.
type Publisher struct {
	js      jetstream.JetStream
	subject string
	options PublisherOptions
	prefix  string // of message ids, random per Publisher
	largest int    // body in bytes that fits in a message
	buffers sync.Pool

	stop      context.CancelFunc // ends tries that are under way
	stopProbe context.CancelFunc
	probes    chan struct{} // has an element when the prober has to work
	work      sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // a group waits, or closed
	open    *group     // takes records; nil when none wait
	full    []*group   // take no more records, oldest first
	pending int        // bytes of groups without an answer
	count   uint64     // of messages, for their ids
	away    error      // why the stream does not acknowledge; nil when it does
	closed  bool
	// line ends, by cut, when the connection stays lost; tries are made within it.
	line context.Context
	cut  context.CancelFunc
}

// lostPatience is how long a message waits for a connection to come back. A stream that restarts by itself is back within a
// second, and those who send need not notice; one that stays away they should not wait for.
const lostPatience = time.Second

// group is a message in the making and those who wait for it.
type group struct {
	message []byte
	records int
	done    chan struct{} // closed when err is final
	err     error
}

// NewPublisher starts a Publisher on a subject; Close ends it. It refuses records until a first probe is acknowledged.
func NewPublisher(js jetstream.JetStream, subject string, options PublisherOptions) *Publisher {
	ctx, stop := context.WithCancel(context.Background())
	probing, stopProbe := context.WithCancel(ctx)
	largest := MaxMessage
	if limit := js.Conn().MaxPayload(); limit > 0 { // a NATS server of the user's own has 1 MiB by default
		largest = min(largest, int(limit))
	}
	p := &Publisher{
		js: js, subject: subject, options: options.withDefaults(), prefix: nuid.Next(), largest: largest - headroom,
		stop: stop, stopProbe: stopProbe, probes: make(chan struct{}, 1),
		away: fmt.Errorf("%w: not asked yet", ErrUnavailable),
	}
	p.options.GroupBytes = min(p.options.GroupBytes, p.largest)
	p.changed = sync.NewCond(&p.mu)
	p.line, p.cut = context.WithCancel(ctx)
	p.probes <- struct{}{}
	for range p.options.Committers {
		p.work.Go(p.commitGroups)
	}
	p.work.Go(func() { p.watch(probing, ctx) })
	p.work.Go(func() { p.probe(probing) })
	return p
}

// Publish returns nil once the record is on the server's disk. An error other than ErrTooLarge, ErrOverloaded and
// ErrClosed leaves open whether it is. The record's body is copied: it may be used again after Publish returns.
func (p *Publisher) Publish(ctx context.Context, r Record) error {
	if len(r.Body) > p.largest {
		return ErrTooLarge
	}
	g, err := p.enqueue(r)
	if err != nil {
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready is nil when the newest message was acknowledged and the connection stands, and else says why not.
func (p *Publisher) Ready() error {
	if !p.js.Conn().IsConnected() {
		return fmt.Errorf("%w: no connection", ErrUnavailable)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return p.away
}

// Pending is the number of bytes that wait for acknowledgement.
func (p *Publisher) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending
}

// Close refuses further records, waits until those taken are answered, and ends the Publisher. When ctx ends first, what
// is under way is given up and answered with an error.
func (p *Publisher) Close(ctx context.Context) {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.probes)
	}
	p.mu.Unlock()
	p.stopProbe()
	p.changed.Broadcast()
	ended := make(chan struct{})
	go func() { p.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	p.stop()
	<-ended
}

func (p *Publisher) enqueue(r Record) (*group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.away != nil:
		return nil, p.away
	case p.pending+len(r.Body) > p.options.PendingBytes:
		return nil, ErrOverloaded
	}
	if p.open != nil && len(p.open.message)+len(r.Body) > p.options.GroupBytes {
		p.full = append(p.full, p.open)
		p.open = nil
	}
	if p.open == nil {
		p.open = &group{message: p.buffer(), done: make(chan struct{})}
	}
	before := len(p.open.message)
	p.open.message = Append(p.open.message, r)
	p.open.records++
	p.pending += len(p.open.message) - before
	p.changed.Signal()
	return p.open, nil
}

// commitGroups is one committer: it takes what waits until the Publisher is closed and nothing waits.
func (p *Publisher) commitGroups() {
	for {
		g, id := p.take()
		if g == nil {
			return
		}
		start := time.Now()
		err := p.commit(g, id)
		bytes := len(g.message)
		p.finish(g, err)
		p.options.Observe(Commit{Records: g.records, Bytes: bytes, Took: time.Since(start), Err: err})
	}
}

func (p *Publisher) take() (*group, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.open == nil && len(p.full) == 0 && !p.closed {
		p.changed.Wait()
	}
	var g *group
	if len(p.full) > 0 {
		g = p.full[0]
		p.full = p.full[1:]
	} else {
		g, p.open = p.open, nil
	}
	return g, p.nextID()
}

func (p *Publisher) nextID() string {
	p.count++
	return p.prefix + "." + strconv.FormatUint(p.count, 36)
}

// watch cuts the line when the connection stays lost, and gives tries a new one within whole when it is back.
func (p *Publisher) watch(ctx, whole context.Context) {
	ticker := time.NewTicker(lostPatience / 10)
	defer ticker.Stop()
	var lost time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.mu.Lock()
			switch {
			case p.js.Conn().IsConnected():
				lost = time.Time{}
				if p.line.Err() != nil {
					p.line, p.cut = context.WithCancel(whole)
				}
			case lost.IsZero():
				lost = now
			case now.Sub(lost) >= lostPatience:
				p.cut()
			}
			p.mu.Unlock()
		}
	}
}

// commit tries until the message is stored, the time is over, or the connection stays lost. Once the stream is known to
// be away a group that has not been tried yet is not tried at all.
func (p *Publisher) commit(g *group, id string) error {
	p.mu.Lock()
	away, line := p.away, p.line
	p.mu.Unlock()
	if away != nil {
		return away
	}
	ctx, cancel := context.WithTimeout(line, p.options.GiveUp)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := p.try(ctx, g.message, id)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func (p *Publisher) try(ctx context.Context, message []byte, id string) error {
	waiting, cancel := context.WithTimeout(ctx, p.options.AckWait)
	defer cancel()
	m := &nats.Msg{Subject: p.subject, Data: message, Header: nats.Header{jetstream.MsgIDHeader: []string{id}}}
	_, err := p.js.PublishMsg(waiting, m, jetstream.WithRetryAttempts(0)) // the caller tries again, with its own waits
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		// The server is there and the stream is not: a store that starts, maybe on an empty volume.
		ensuring, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if ensured := EnsureStream(ensuring, p.js, 0); ensured != nil {
			return errors.Join(err, ensured)
		}
	}
	return err
}

func (p *Publisher) finish(g *group, err error) {
	p.mu.Lock()
	p.pending -= len(g.message) - 1 // the version byte is not counted
	p.setAway(err)
	p.mu.Unlock()
	buffer := g.message[:0]
	g.message, g.err = nil, err
	if cap(buffer) <= 2*p.options.GroupBytes {
		p.buffers.Put(&buffer)
	}
	close(g.done)
}

// setAway keeps why the stream does not acknowledge and sets the prober to work. The caller holds mu.
func (p *Publisher) setAway(err error) {
	if err == nil {
		p.away = nil
		return
	}
	if p.away == nil && !p.closed {
		select {
		case p.probes <- struct{}{}:
		default:
		}
	}
	p.away = err
}

// probe stores an empty message after each failure, and once at the start, until the stream acknowledges.
func (p *Publisher) probe(ctx context.Context) {
	for range p.probes {
		for {
			p.mu.Lock()
			id, done := p.nextID(), p.closed
			p.mu.Unlock()
			if done {
				return
			}
			err := p.try(ctx, []byte{version}, id)
			p.mu.Lock()
			p.away = nil
			if err != nil {
				p.away = fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			p.mu.Unlock()
			if err == nil {
				break
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (p *Publisher) buffer() []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return append(*b, version)
	}
	return append(make([]byte, 0, 64<<10), version)
}
