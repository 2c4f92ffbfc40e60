package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/memory"
)

func runStream(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	fs := flag.NewFlagSet("store stream", flag.ContinueOnError)
	var cfg jetstream.Config
	var maxStore, minFree size
	var credentials, health string
	var level slog.Level
	fs.StringVar(&cfg.Dir, "dir", "/var/lib/kohort/stream", "`directory` of the messages")
	fs.StringVar(&cfg.Listen, "listen", ":4222", "`address` for NATS clients")
	fs.StringVar(&health, "health-listen", ":8222", "`address` of /ping, /ready and /metrics")
	fs.StringVar(&credentials, "credentials-dir", "", "`directory` with the files username and password")
	fs.Var(&maxStore, "max-store", "`bytes` that all streams may hold (default: the disk's size less min-free)")
	fs.Var(&minFree, "min-free", "free `bytes` of the disk under which publishes are refused (default 5 % of it, between 64Mi and 4Gi)")
	fs.TextVar(&level, "log-level", slog.LevelInfo, "`level` of the log: DEBUG, INFO, WARN, ERROR")
	if err := parse(fs, args, out); err != nil {
		return err
	}
	cfg.MaxStore, cfg.MinFree, cfg.Log = int64(maxStore), uint64(minFree), logger(out, level)
	var err error
	if cfg.Credentials, err = access.Read(credentials); err != nil {
		return err
	}
	if env("GOMEMLIMIT") == "" {
		limit, err := memory.Available(os.DirFS("/"))
		if err != nil {
			return err
		}
		// What is not heap (stacks, the page cache of its files) has the rest.
		debug.SetMemoryLimit(int64(limit / 10 * 8))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", health)
	if err != nil {
		return fmt.Errorf("starting the stream: %w", err)
	}
	s, err := jetstream.Open(ctx, cfg)
	if err != nil {
		return errors.Join(fmt.Errorf("starting the stream: %w", err), l.Close())
	}
	cfg.Log.InfoContext(ctx, "stream listens", "address", s.URL(), "health", l.Addr().String())
	return s.Serve(ctx, l)
}
