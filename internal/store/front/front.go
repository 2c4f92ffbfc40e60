package front

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/chdb"
)

// Limits bounds what clients may ask of the store. Zero values mean the
// defaults.
type Limits struct {
	Concurrent   int           // statements that run at once; 16
	Queue        int           // requests that may wait for their turn; 256
	QueueTimeout time.Duration // how long one waits before it is refused; 30 s
	QueryBytes   int           // length of a statement without its rows; 4 MiB
	BodyBytes    int64         // length of a request's body, as sent; 4 GiB
	IdleTimeout  time.Duration // a body that sends nothing, or a reader that takes nothing, for so long is dropped; 2 min
}

func (l Limits) orDefaults() Limits {
	set(&l.Concurrent, 16)
	set(&l.Queue, 256)
	set(&l.QueueTimeout, 30*time.Second)
	set(&l.QueryBytes, 4<<20)
	set(&l.BodyBytes, 4<<30)
	set(&l.IdleTimeout, 2*time.Minute)
	return l
}

func set[T int | int64 | time.Duration](v *T, fallback T) {
	if *v == 0 {
		*v = fallback
	}
}

// Options configure a Front.
type Options struct {
	Engine      *chdb.Engine
	Credentials access.Credentials
	ReadOnly    *access.Credentials // a second user that can only read; nil: there is none
	Limits      Limits
	Log         *slog.Logger
	// Room says whether the disk can take more rows: nil, or why not.
	Room func() error
}

// Front serves the query interface. Make one with [New].
type Front struct {
	engine  *chdb.Engine
	users   []user
	limits  Limits
	log     *slog.Logger
	room    func() error
	gate    *gate
	version string
	metrics *metrics
	running sync.WaitGroup // requests and the KILL loops they started
}

type user struct {
	access.Credentials
	readOnly bool
}

// New makes a Front over a started engine.
func New(o Options) (*Front, error) {
	f := &Front{
		engine: o.Engine,
		users:  []user{{Credentials: o.Credentials}},
		limits: o.Limits.orDefaults(),
		log:    o.Log,
		room:   o.Room,
	}
	if o.ReadOnly != nil {
		f.users = append(f.users, user{Credentials: *o.ReadOnly, readOnly: true})
	}
	if f.room == nil {
		f.room = func() error { return nil }
	}
	f.gate = newGate(f.limits.Concurrent, f.limits.Queue, f.limits.QueueTimeout)
	f.metrics = newMetrics(f.gate)
	version, err := f.scalar("SELECT version()")
	if err != nil {
		return nil, err
	}
	f.version = version
	return f, nil
}

// Wait returns when no request is under way. The HTTP server must have been
// told to take no more.
func (f *Front) Wait() { f.running.Wait() }

// ServeHTTP answers one request of the query interface.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.running.Add(1)
	defer f.running.Done()
	start := time.Now()
	a := &answer{w: w, control: http.NewResponseController(w)}
	kind, err := f.serve(r, a)
	if err != nil {
		a.fail(err)
	}
	f.metrics.observe(kind, a.code, time.Since(start))
	if err != nil && f.log != nil {
		// The text of an exception can hold values of rows: only its code is logged.
		f.log.DebugContext(r.Context(), "statement failed", "kind", kind, "code", a.code, "status", a.status)
	}
}

// scalar runs a statement of the front's own.
func (f *Front) scalar(sql string) (string, error) {
	conn, err := f.engine.Connect()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	out, _, err := conn.Query(sql, "TSVRaw")
	if err != nil {
		return "", err
	}
	return string(trimNewline(out)), nil
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}
