// Package storetest starts real stores for tests.
//
// The warehouse runs in a child process, because libchdb allows one data
// directory per process and takes the process down when it crashes. The child
// is this same test binary, run again: importing the package is enough, no
// TestMain is needed.
package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/warehouse"
)

// childEnv tells this binary, run again, to be a warehouse. Its value is the
// configuration as JSON.
const childEnv = "KOHORT_STORETEST_WAREHOUSE"

// libraryVersion is the pinned release of libchdb.
const libraryVersion = "26.7.3-stable.1"

// init turns the process into a warehouse when it was started as one. It runs
// before any test, and before flags are parsed.
func init() {
	raw, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	if err := child(raw); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Library returns the path of libchdb.so: CHDB_LIB_PATH, or where "make chdb"
// puts it. The test fails when it is not there.
func Library(t testing.TB) string {
	t.Helper()
	path := os.Getenv("CHDB_LIB_PATH")
	if path == "" {
		path = filepath.Join(cacheDir(), "chdb", libraryVersion, "libchdb.so")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the ClickHouse engine is missing (%v): run `make chdb`, or set CHDB_LIB_PATH to a libchdb.so of version %s", err, libraryVersion)
	}
	return path
}

func cacheDir() string {
	if dir := os.Getenv("KOHORT_CACHE"); dir != "" {
		return dir
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		base = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(base, "kohort")
}

// Warehouse starts the ClickHouse engine behind its HTTP interface, in a
// temporary directory, for as long as the test runs. The URL, such as
// http://127.0.0.1:40123, holds no credentials.
func Warehouse(t testing.TB) (url, user, password string) {
	t.Helper()
	w := StartWarehouse(t, warehouse.Config{})
	return w.URL, User, Password
}

// WarehouseProcess is a warehouse that a test can kill and start again.
type WarehouseProcess struct {
	URL    string // stays the same over Kill and Start
	Config warehouse.Config

	cmd   *exec.Cmd
	stdin io.Closer
	errs  *lockedBuffer
}

// StartWarehouse starts a warehouse. What cfg leaves out gets a value fit for
// tests: a temporary directory, a free port, [User] and [Password], 2 GiB of
// memory and no floor of free space.
func StartWarehouse(t testing.TB, cfg warehouse.Config) *WarehouseProcess {
	t.Helper()
	if cfg.Library == "" {
		cfg.Library = Library(t)
	}
	if cfg.Path == "" {
		cfg.Path = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Credentials.Username == "" {
		cfg.Credentials = access.Credentials{Username: User, Password: Password}
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = 2 << 30
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = 1
	}
	w := &WarehouseProcess{Config: cfg}
	w.Start(t)
	t.Cleanup(w.stop)
	return w
}

// startWithin bounds a start; one takes about 0.3 s, and longer on a machine
// that is busy with other tests.
const startWithin = time.Minute

// Start runs the warehouse after a Kill or Stop, on the same address.
func (w *WarehouseProcess) Start(t testing.TB) {
	t.Helper()
	raw, err := json.Marshal(w.Config)
	if err != nil {
		t.Fatalf("encoding the configuration of a warehouse: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("finding the test binary: %v", err)
	}
	w.errs = &lockedBuffer{}
	w.cmd = exec.Command(self)
	w.cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	w.cmd.Stderr = w.errs
	// The child ends when this pipe closes, which the kernel does even if this
	// process is killed.
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		t.Fatalf("starting a warehouse: %v", err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("starting a warehouse: %v", err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("starting a warehouse: %v", err)
	}
	late := time.AfterFunc(startWithin, func() { _ = w.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	if err != nil {
		_ = w.cmd.Wait()
		t.Fatalf("a warehouse did not start within %s: %s", startWithin, w.errs)
	}
	address := strings.TrimSpace(line)
	w.URL, w.Config.Listen = "http://"+address, address
}

// Kill ends the process as kill -9 does.
func (w *WarehouseProcess) Kill(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatalf("killing a warehouse: %v", err)
	}
	_ = w.cmd.Wait() // reports the kill
}

// Stop ends the process as Kubernetes does, with SIGTERM, and fails the test
// when it does not end well.
func (w *WarehouseProcess) Stop(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stopping a warehouse: %v", err)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Fatalf("a warehouse did not stop well: %v: %s", err, w.errs)
	}
}

// Pid is the process, for tests that look at its memory.
func (w *WarehouseProcess) Pid() int { return w.cmd.Process.Pid }

// Log returns what the process has logged since its last start.
func (w *WarehouseProcess) Log() string { return w.errs.String() }

func (w *WarehouseProcess) stop() {
	if w.cmd.ProcessState != nil {
		return
	}
	// What is left in a temporary directory does not matter.
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// child is a warehouse process.
func child(raw string) error {
	var cfg warehouse.Config
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		return fmt.Errorf("reading %s: %w", childEnv, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // the test is gone
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	w, err := warehouse.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", cfg.Listen, err)
	}
	fmt.Println(l.Addr())
	return w.Serve(ctx, l)
}

// lockedBuffer is written by the copier of a process and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
