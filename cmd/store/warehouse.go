package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/front"
	"kohort.dev/kohort/internal/store/warehouse"
)

// defaultLibrary is where the store's image has the engine.
const defaultLibrary = "/usr/lib/kohort/libchdb.so"

func runWarehouse(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	fs := flag.NewFlagSet("store warehouse", flag.ContinueOnError)
	var cfg warehouse.Config
	var memory, minFree, body size
	var limits front.Limits
	var credentials, readers string
	var level slog.Level
	library := defaultLibrary
	if path := env("CHDB_LIB_PATH"); path != "" {
		library = path
	}
	fs.StringVar(&cfg.Path, "path", "/var/lib/kohort/warehouse", "data `directory`")
	fs.StringVar(&cfg.Listen, "listen", ":8123", "`address` of the HTTP interface")
	fs.StringVar(&cfg.Library, "lib", library, "libchdb.so; CHDB_LIB_PATH sets the default")
	fs.StringVar(&credentials, "credentials-dir", "", "`directory` with the files username and password")
	fs.StringVar(&readers, "readonly-credentials-dir", "", "the same for a second user that can only read")
	fs.Var(&memory, "max-memory", "`bytes` that the engine may use (default 65 % of the container's limit)")
	fs.Var(&minFree, "min-free", "free `bytes` of the disk under which inserts are refused (default 5 % of it, between 64Mi and 4Gi)")
	fs.StringVar(&cfg.Backups, "backups", "", "`directory` that BACKUP may write to (default: none)")
	fs.DurationVar(&cfg.Drain, "drain", 0, "how long a stop waits for running statements (default 25s)")
	fs.IntVar(&limits.Concurrent, "max-concurrent", 0, "statements that run at once (default 16)")
	fs.IntVar(&limits.Queue, "max-queue", 0, "requests that may wait for their turn (default 256)")
	fs.DurationVar(&limits.QueueTimeout, "queue-timeout", 0, "how long a request may wait for its turn (default 30s)")
	fs.Var(&body, "max-body", "largest request body in `bytes` (default 4Gi)")
	fs.TextVar(&level, "log-level", slog.LevelInfo, "`level` of the log: DEBUG, INFO, WARN, ERROR")
	if err := parse(fs, args, out); err != nil {
		return err
	}
	cfg.MaxMemory, cfg.MinFree, limits.BodyBytes = uint64(memory), uint64(minFree), int64(body)
	cfg.Limits = limits
	var err error
	if cfg.Credentials, err = access.Read(credentials); err != nil {
		return err
	}
	if readers != "" {
		second, err := access.Read(readers)
		if err != nil {
			return err
		}
		cfg.ReadOnly = &second
	}
	log := logger(out, level)
	// First the port, which is quickly found to be taken.
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("starting the warehouse: %w", err)
	}
	w, err := warehouse.Open(ctx, cfg, log)
	if err != nil {
		return errors.Join(fmt.Errorf("starting the warehouse: %w", err), l.Close())
	}
	log.InfoContext(ctx, "warehouse listens", "address", l.Addr().String())
	return w.Serve(ctx, l)
}
