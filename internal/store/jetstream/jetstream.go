// Package jetstream runs the store's stream process: a NATS server with
// JetStream in this process, whose acknowledgement of a publish means that the
// message is on disk.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/directory"
	"kohort.dev/kohort/internal/store/readiness"
)

// Config says how to run the stream.
type Config struct {
	Dir         string // where messages are kept; made when missing
	Listen      string // address for clients, such as ":4222"; port 0 or -1 takes a free one
	Credentials access.Credentials
	MaxStore    int64        // bytes that all streams may hold; 0: what the volume has, less its floor
	MinFree     uint64       // bytes of free space under which publishes are refused; 0: see disk.Usage.Floor
	Log         *slog.Logger `json:"-"`
}

const (
	// MaxPayload is the largest message in bytes. The collector publishes
	// groups of events as one message.
	MaxPayload = 8 << 20
	// maxMemory bounds streams that ask for memory storage: the store's own
	// clients use none.
	maxMemory = 16 << 20
	// maxPending is how much one slow reader may leave unread before it is cut
	// off: two of the largest messages and more.
	maxPending  = 32 << 20
	maxClients  = 1024
	startWithin = 2 * time.Minute // recovery reads every message block
)

// Stream is the running server. Make one with [Open].
type Stream struct {
	cfg    Config
	held   *directory.Held
	server *server.Server
	conn   *nats.Conn // in process, for the readiness probe
	health *readiness.Check
	stop   context.CancelFunc
	ended  chan struct{} // closed when the guard has ended
	broken chan error    // gets an error when only a restart helps
}

// Open starts the server and waits until it has recovered what it holds. The
// caller closes the Stream.
func Open(ctx context.Context, cfg Config) (*Stream, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory for the stream: name one with --dir")
	}
	held, err := directory.Take(ctx, cfg.Dir, directory.Patience)
	if err != nil {
		return nil, err
	}
	s := &Stream{cfg: cfg, held: held, ended: make(chan struct{}), broken: make(chan error, 1)}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, held.Release())
	}
	return s, nil
}

// start starts the server in its directory. After an error nothing of it runs.
func (s *Stream) start(ctx context.Context) error {
	opts, err := s.cfg.options()
	if err != nil {
		return err
	}
	if s.server, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("configuring the stream: %w", err)
	}
	s.server.SetLoggerV2(&logger{log: s.cfg.Log, broken: s.broken}, false, false, false)
	s.server.Start()
	if !s.server.ReadyForConnections(startWithin) || !s.server.JetStreamEnabled() {
		s.server.Shutdown()
		s.server.WaitForShutdown()
		return fmt.Errorf("starting the stream in %s: it did not come up; its log says why", s.cfg.Dir)
	}
	if s.conn, err = nats.Connect("", nats.InProcessServer(s.server), nats.Name("store"), nats.MaxReconnects(-1),
		nats.UserInfo(s.cfg.Credentials.Username, s.cfg.Credentials.Password)); err != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
		return fmt.Errorf("connecting to the stream: %w", err)
	}
	s.health = readiness.New(s.write, healthEvery, healthWithin, time.Now)
	guarded, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.guard(guarded)
	return nil
}

// options are those of the embedded server: clients on one port, nothing else.
func (c Config) options() (*server.Options, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("reading the address to listen on %q: %w", c.Listen, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("reading the address to listen on %q: the port is not a number", c.Listen)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	limit := c.MaxStore
	if limit == 0 {
		if limit, err = capacity(c.Dir, c.MinFree); err != nil {
			return nil, err
		}
	}
	return &server.Options{
		ServerName:                 "kohort-store",
		Host:                       host,
		Port:                       number,
		CustomClientAuthentication: login{c.Credentials},
		MaxConn:                    maxClients,
		MaxPayload:                 MaxPayload,
		MaxPending:                 maxPending,
		MaxControlLine:             4 << 10,
		WriteDeadline:              10 * time.Second,
		JetStream:                  true,
		StoreDir:                   c.Dir,
		JetStreamMaxStore:          limit,
		JetStreamMaxMemory:         maxMemory,
		SyncAlways:                 true,
		NoSigs:                     true,
		DisableJetStreamBanner:     true,
	}, nil
}

// URL is the address for clients of this machine, such as
// nats://127.0.0.1:4222, without credentials.
func (s *Stream) URL() string { return s.server.ClientURL() }

// Ready returns nil when a durable publish succeeded within the last second.
func (s *Stream) Ready(ctx context.Context) error { return s.health.Ready(ctx) }

// Close cuts the clients off and writes out the state. What was acknowledged
// was on disk before; what was not is for the publisher to send again.
func (s *Stream) Close() {
	s.stop()
	<-s.ended
	s.health.Wait()
	s.conn.Close()
	s.server.Shutdown()
	s.server.WaitForShutdown()
	if err := s.held.Release(); err != nil {
		s.cfg.Log.Warn("the stream's directory stays locked until this process ends", "error", err)
	}
}

// login lets the one user in, to the one account. The system account exists,
// but nobody has credentials for it.
type login struct{ access.Credentials }

// Check is called for every client that connects.
func (l login) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	return l.Match(opts.Username, opts.Password)
}
