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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/warehouse"
)

// childEnv tells this binary, run again, to be a store. Its value is a child
// as JSON.
const childEnv = "KOHORT_STORETEST_CHILD"

// child says what the process is to be: one of the two.
type child struct {
	Warehouse *warehouse.Config
	Stream    *jetstream.Config
	Health    string // address of the stream's health listener
}

// init turns the process into a store when it was started as one. It runs
// before any test, and before flags are parsed.
func init() {
	raw, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	if err := be(raw); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Process is a store in a process of its own, which a test can kill and start
// again.
type Process struct {
	URL    string // for clients; stays the same over Kill and Start
	Health string // base URL of /ping, /ready and /metrics

	child child
	cmd   *exec.Cmd
	log   *lockedBuffer
	stdin io.Closer // the child ends when it closes
}

// startWithin bounds a start; one takes about 0.3 s, and longer on a machine
// that is busy with other tests.
const startWithin = time.Minute

// Start runs the store after a Kill or Stop, on the same address and with the
// same data.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	raw, err := json.Marshal(p.child)
	if err != nil {
		t.Fatalf("encoding the configuration of a store: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("finding the test binary: %v", err)
	}
	p.log = &lockedBuffer{}
	// It may be started in a subtest and outlive it: cleanup ends it.
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), self)
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	p.cmd.Stderr = p.log
	// The kernel closes this pipe when this process ends, even by a kill.
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatalf("starting a store: %v", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("starting a store: %v", err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting a store: %v", err)
	}
	late := time.AfterFunc(startWithin, func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	if err != nil {
		_ = p.cmd.Wait() // the log says more
		t.Fatalf("a store did not start within %s: %s", startWithin, p.log)
	}
	client, health, _ := strings.Cut(strings.TrimSpace(line), " ")
	if p.child.Warehouse != nil {
		p.child.Warehouse.Listen = client
		p.URL, p.Health = "http://"+client, "http://"+client
		return
	}
	p.child.Stream.Listen, p.child.Health = client, health
	p.URL, p.Health = "nats://"+client, "http://"+health
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("killing a store: %v", err)
	}
	_ = p.cmd.Wait() // reports the kill
}

// Stop ends the process as Kubernetes does, with SIGTERM, and fails the test
// when it does not end well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stopping a store: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("a store did not stop well: %v: %s", err, p.log)
	}
}

// Wait waits until the process ends by itself and returns how it did.
func (p *Process) Wait() error { return p.cmd.Wait() }

// Pid is the process, for tests that look at its memory.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns what the process has logged since its last start.
func (p *Process) Log() string { return p.log.String() }

func (p *Process) cleanup() {
	if p.cmd.ProcessState != nil {
		return
	}
	// What is left in a temporary directory does not matter.
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// be is the child's main.
func be(raw string) error {
	var c child
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return fmt.Errorf("reading %s: %w", childEnv, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // the test is gone
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if c.Stream != nil {
		return beStream(ctx, c, log)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Warehouse.Listen)
	if err != nil {
		return err
	}
	w, err := warehouse.Open(ctx, *c.Warehouse, log)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return w.Serve(ctx, l)
}

func beStream(ctx context.Context, c child, log *slog.Logger) error {
	c.Stream.Log = log
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Health)
	if err != nil {
		return err
	}
	s, err := jetstream.Open(ctx, *c.Stream)
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimPrefix(s.URL(), "nats://"), l.Addr())
	return s.Serve(ctx, l)
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
