package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/warehouse"
)

// store is the connection to the warehouse: made when the warehouse first answers, and watched from then on.
type store struct {
	open   func(ctx context.Context) (driver.Conn, error)
	logger *slog.Logger
	opened chan struct{}

	mu    sync.Mutex
	conn  driver.Conn
	fault error
}

var errNotOpened = errors.New("the warehouse has not answered yet")

func newStore(cfg Config) *store {
	return &store{
		open: func(ctx context.Context) (driver.Conn, error) {
			return warehouse.Open(ctx, cfg.WarehouseURL, cfg.WarehouseCredentials)
		},
		logger: cfg.Logger, opened: make(chan struct{}), fault: errNotOpened,
	}
}

const (
	// probeEvery and probeTimeout bound how long /readyz is wrong: about ten seconds.
	probeEvery   = 5 * time.Second
	probeTimeout = 5 * time.Second
)

// follow opens the connection, as often as it takes, and probes it until ctx ends.
func (s *store) follow(ctx context.Context) error {
	for {
		conn, err := s.open(ctx)
		if err == nil {
			s.set(conn, nil)
			close(s.opened)
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		s.set(nil, err)
		s.logger.Warn("the warehouse is away; trying again", "error", err.Error())
		pause(ctx, probeEvery)
	}
	defer func() { _ = s.conn.Close() }()
	for pause(ctx, probeEvery) {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.conn.Exec(probe, "SELECT 1")
		cancel()
		if ctx.Err() != nil {
			break
		}
		s.set(s.conn, err)
	}
	return nil
}

func (s *store) set(conn driver.Conn, fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (fault == nil) != (s.fault == nil) && !errors.Is(s.fault, errNotOpened) {
		if fault == nil {
			s.logger.Info("the warehouse answers again")
		} else {
			s.logger.Warn("the warehouse does not answer", "error", fault.Error())
		}
	}
	s.conn, s.fault = conn, fault
}

// get gives the connection, or why there is none.
func (s *store) get() (driver.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, s.fault
	}
	return s.conn, nil
}

// check is the newest fault, nil while the warehouse answers.
func (s *store) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// wait gives the connection as soon as there is one.
func (s *store) wait(ctx context.Context) (driver.Conn, error) {
	select {
	case <-s.opened:
		return s.get()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pause waits and says whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
