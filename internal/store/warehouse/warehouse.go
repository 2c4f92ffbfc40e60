package warehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/directory"
	"kohort.dev/kohort/internal/store/front"
	"kohort.dev/kohort/internal/store/memory"
	"kohort.dev/kohort/internal/store/prune"
)

// Config says how to run the warehouse.
type Config struct {
	Path        string // data directory; made when missing
	Listen      string // address of the HTTP interface, such as ":8123"
	Library     string // libchdb.so
	Credentials access.Credentials
	ReadOnly    *access.Credentials // a second user that can only read; nil: none
	MaxMemory   uint64              // bytes for the engine; 0: 65 % of the container's limit
	MinFree     uint64              // bytes under which inserts are refused, at least 16 MiB; 0: see disk.Usage.Floor
	Backups     string              // directory that BACKUP may write to; empty: none
	Drain       time.Duration       // how long a stop waits for running statements; 0: 25 s
	Limits      front.Limits
}

// defaultDrain fits into Kubernetes' grace period of 30 s.
const defaultDrain = 25 * time.Second

// engineShare of the container's memory goes to the engine: the rest is for
// the library itself (170 MB mapped), this process's own buffers and the page
// cache that the kernel counts against the container.
const engineShare = 0.65

// Warehouse is the running store. Make one with [Open].
type Warehouse struct {
	cfg    Config
	log    *slog.Logger
	held   *directory.Held
	engine *chdb.Engine
	front  *front.Front
	health *health
}

// Open takes the data directory, repairs its deduplication logs, starts the
// engine and makes the table of the readiness probe. The caller calls Serve,
// which also closes the Warehouse.
//
// libchdb allows one data directory per process.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (_ *Warehouse, err error) {
	if cfg.MinFree > 0 {
		cfg.MinFree = max(cfg.MinFree, leastFree)
	}
	w := &Warehouse{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.release())
		}
	}()
	if w.held, err = take(ctx, cfg.Path); err != nil {
		return nil, err
	}
	report, err := prune.Logs(cfg.Path)
	if err != nil {
		return nil, err
	}
	if report.Dropped > 0 {
		log.WarnContext(ctx, "dropped deduplication entries whose rows were not stored", "entries", report.Entries, "dropped", report.Dropped)
	}
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	if w.health, err = newHealth(w.engine, cfg.Path, cfg.MinFree); err != nil {
		return nil, err
	}
	w.front, err = front.New(front.Options{
		Engine:      w.engine,
		Credentials: cfg.Credentials,
		ReadOnly:    cfg.ReadOnly,
		Limits:      cfg.Limits,
		Log:         log,
		Room:        w.health.room,
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// take keeps a second process out, which would otherwise prune the logs of a running engine.
func take(ctx context.Context, path string) (*directory.Held, error) {
	if path == "" {
		return nil, errors.New("no data directory: name one with --path")
	}
	return directory.Take(ctx, path, directory.Patience)
}

func (w *Warehouse) start(ctx context.Context) error {
	share := w.cfg.MaxMemory
	limit, err := memory.Available(os.DirFS("/"))
	if err != nil {
		return err
	}
	if share == 0 {
		share = uint64(float64(limit) * engineShare)
	}
	// Go's own part is small; the collector is told so before the kernel is.
	debug.SetMemoryLimit(int64(max(limit/10, 64<<20)))
	conf, err := engineConf{Memory: share, Cores: runtime.GOMAXPROCS(0), Backups: w.cfg.Backups}.write(filepath.Join(w.cfg.Path, "kohort-config"))
	if err != nil {
		return err
	}
	// The engine takes its time zone from here, not from its configuration.
	if err := os.Setenv("TZ", "UTC"); err != nil {
		return fmt.Errorf("setting the time zone: %w", err)
	}
	begun := time.Now()
	lib, err := chdb.Load(w.cfg.Library)
	if err != nil {
		return err
	}
	engine, err := lib.Start(w.cfg.Path, "--config-file="+conf)
	if err != nil {
		return err
	}
	w.engine = engine
	w.log.InfoContext(ctx, "engine started", "version", lib.Version(), "path", w.cfg.Path,
		"memory", share, "took", time.Since(begun).String())
	return nil
}

// release gives back what Open took, in the reverse order.
func (w *Warehouse) release() error {
	var err error
	if w.engine != nil {
		w.engine.Close()
	}
	if w.held != nil {
		err = w.held.Release()
	}
	return err
}

// Serve answers on l until ctx ends. Then it takes no new requests, lets the
// running ones end within the drain time, kills those that do not, and stops
// the engine. The Warehouse cannot be used afterwards.
func (w *Warehouse) Serve(ctx context.Context, l net.Listener) error {
	handler, err := w.handler()
	if err != nil {
		return errors.Join(err, l.Close(), w.release())
	}
	// Requests outlive ctx, which only says that no more are taken.
	requests, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	served := make(chan struct{})
	var serveErr error
	go func() {
		defer close(served)
		serveErr = server.Serve(l)
	}()
	select {
	case <-served:
		err = fmt.Errorf("serving on %s: %w", l.Addr(), serveErr)
	case <-ctx.Done():
		w.log.InfoContext(ctx, "stopping: running statements may end")
		err = w.drain(server, kill)
		<-served
	}
	w.front.Wait()
	w.health.check.Wait()
	return errors.Join(err, w.release())
}

// drain stops the server: gently for the drain time, then by ending the
// requests' contexts, which kills their statements.
func (w *Warehouse) drain(server *http.Server, kill func()) error {
	wait := w.cfg.Drain
	if wait == 0 {
		wait = defaultDrain
	}
	gently, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := server.Shutdown(gently); err == nil {
		return nil
	}
	w.log.Warn("killing the statements that still run", "after", wait.String())
	kill()
	if err := server.Close(); err != nil {
		return fmt.Errorf("closing the server: %w", err)
	}
	return nil
}
