package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func credentials(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{"username": "kohort", "password": "secret-of-the-test\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func none(string) string { return "" }

func TestBadArguments(t *testing.T) {
	creds := credentials(t)
	for _, c := range []struct {
		why  string
		args []string
		want string
	}{
		{"a subcommand that is none", []string{"cache"}, "neither warehouse nor stream"},
		{"a flag that is none", []string{"stream", "--port", "1"}, "-port"},
		{"an argument too many", []string{"warehouse", "now"}, `unexpected argument "now"`},
		{"a size that is none", []string{"warehouse", "--max-memory", "much"}, "not a size such as 4Gi"},
		{"a negative size", []string{"stream", "--max-store", "-1"}, "negative"},
		{"no credentials: the store never runs open", []string{"warehouse", "--path", t.TempDir()}, "--credentials-dir"},
		{"no credentials for the stream", []string{"stream", "--dir", t.TempDir()}, "--credentials-dir"},
		{"credentials that are not there", []string{"stream", "--credentials-dir", "/nowhere"}, "/nowhere/username"},
		{"an address that is none", []string{"stream", "--dir", t.TempDir(), "--credentials-dir", creds, "--listen", "4222", "--health-listen", "127.0.0.1:0"}, "4222"},
		{"an engine that is not there", []string{"warehouse", "--path", t.TempDir(), "--credentials-dir", creds, "--lib", "/nowhere/libchdb.so"}, "/nowhere/libchdb.so"},
	} {
		err := run(t.Context(), c.args, none, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.why, err, c.want)
		}
	}
	for _, args := range [][]string{nil, {"help"}, {"warehouse", "-h"}} {
		if err := run(t.Context(), args, none, io.Discard); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%v: %v, want help", args, err)
		}
	}
}

// log collects what a command writes while it runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestStreamRunsUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := &log{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"stream", "--dir", t.TempDir(), "--credentials-dir", credentials(t),
			"--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--min-free", "1Ki", "--max-store", "1Gi"}, none, out)
	}()
	found := regexp.MustCompile(`"address":"(nats://[^"]+)","health":"([^"]+)"`)
	var m []string
	for deadline := time.Now().Add(20 * time.Second); m == nil; m = found.FindStringSubmatch(out.String()) {
		if time.Now().After(deadline) {
			t.Fatalf("the stream does not say where it listens: %s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
	nc, err := nats.Connect(m[1], nats.UserInfo("kohort", "secret-of-the-test"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	res, err := http.Get("http://" + m[2] + "/ready")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("ready: %v, error %v", res, err)
	}
	res.Body.Close()
	stop()
	if err := <-done; err != nil {
		t.Errorf("the stop returned %v", err)
	}
	if strings.Contains(out.String(), "secret-of-the-test") {
		t.Errorf("the log holds the password: %s", out)
	}
}
