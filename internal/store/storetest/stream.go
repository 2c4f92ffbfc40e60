package storetest

import (
	"io"
	"log/slog"
	"testing"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/jetstream"
)

// Credentials of every store that this package starts.
const (
	User     = "kohort"
	Password = "test-password"
)

// Stream starts the store's stream in this process, on a free port of
// 127.0.0.1 and in a temporary directory, for as long as the test runs. The
// URL holds no credentials.
func Stream(t testing.TB) (url, user, password string) {
	t.Helper()
	s, err := jetstream.Open(t.Context(), jetstream.Config{
		Dir:         t.TempDir(),
		Listen:      "127.0.0.1:0",
		Credentials: access.Credentials{Username: User, Password: Password},
		MinFree:     1, // a test does not care how full the machine's disk is
		MaxStore:    4 << 30,
		Log:         slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatalf("starting a stream: %v", err)
	}
	t.Cleanup(s.Close)
	return s.URL(), User, Password
}

// StartStream starts a stream in a process of its own, which the test can kill
// and start again. What cfg leaves out gets a value fit for tests.
func StartStream(t testing.TB, cfg jetstream.Config) *Process {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Credentials.Username == "" {
		cfg.Credentials = access.Credentials{Username: User, Password: Password}
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = 1
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = 4 << 30
	}
	p := &Process{child: child{Stream: &cfg, Health: "127.0.0.1:0"}}
	p.Start(t)
	t.Cleanup(p.cleanup)
	return p
}
