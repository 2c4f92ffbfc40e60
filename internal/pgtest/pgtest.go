// Package pgtest runs a throw-away PostgreSQL server for a test: a real one, for a fake would not have its types, its
// cursors and its errors.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// nobody is the user that the server runs as when the test runs as root, for PostgreSQL refuses root.
const nobody = 65534

// startTime is how long a server may take on a busy machine until it answers.
const startTime = 60 * time.Second

// Server is a PostgreSQL server on the loopback that ends with its test, also when the test process is killed.
type Server struct {
	tb   testing.TB
	bin  string
	dir  string
	port int
	log  *bytes.Buffer
	cmd  *exec.Cmd
	hold io.Closer // the server lives while this is open
}

// Start makes and starts a server. Without PostgreSQL's binaries the test fails and says what to install.
func Start(tb testing.TB) *Server {
	tb.Helper()
	bin, err := binaries()
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "kohort-pgtest-*")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			tb.Fatal(err)
		}
	}
	s := &Server{tb: tb, bin: bin, dir: dir}
	initdb := s.command(filepath.Join(bin, "initdb"), "--pgdata", s.data(), "--username", "kohort", "--auth", "trust",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	if s.port, err = freePort(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	s.Restart()
	return s
}

// DSN is the connection string of a database of the server; postgres is always there.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://kohort@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Database makes an empty database and gives its connection string.
func (s *Server) Database(name string) string {
	s.tb.Helper()
	s.Exec("postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return s.DSN(name)
}

// Exec runs statements in a database.
func (s *Server) Exec(database string, statements ...string) {
	s.tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN(database))
	if err != nil {
		s.tb.Fatalf("connecting to the test's PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			s.tb.Fatalf("running %q: %v", statement, err)
		}
	}
}

// Stop ends the server at once, as a crash of its machine would look to a client; Restart brings it back with its data.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.hold.Close()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Restart starts a stopped server on the same port and waits until it answers.
func (s *Server) Restart() {
	s.tb.Helper()
	s.log = &bytes.Buffer{}
	// The shell ends the server when its input ends: Go closes it in Stop, the kernel when the test process dies.
	s.cmd = s.command("/bin/sh", "-c", `"$@" & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid`, "sh",
		filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", fmt.Sprint(s.port), "-h", "127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=50")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	hold, err := s.cmd.StdinPipe()
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("starting PostgreSQL: %v", err)
	}
	s.hold = hold
	deadline := time.Now().Add(startTime)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Stop()
			s.tb.Fatalf("PostgreSQL does not answer: %v\n%s", err, s.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...) // ended by Stop, which waits
	cmd.Dir = s.dir
	cmd.Env = append(slices.Clip(os.Environ()), "HOME="+s.dir, "LC_ALL=C")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// binaries is the directory that holds initdb and postgres: Debian keeps it out of PATH.
func binaries() (string, error) {
	places, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.Sort(places)
	slices.Reverse(places)
	if found, err := exec.LookPath("initdb"); err == nil {
		if resolved, err := filepath.EvalSymlinks(found); err == nil {
			places = append([]string{filepath.Dir(resolved)}, places...)
		}
	}
	for _, place := range places {
		if runnable(filepath.Join(place, "initdb")) && runnable(filepath.Join(place, "postgres")) {
			return place, nil
		}
	}
	return "", errors.New("initdb and postgres are neither in PATH nor in /usr/lib/postgresql/*/bin; this test needs a real PostgreSQL: apt-get install postgresql")
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

func freePort() (int, error) {
	var listening net.ListenConfig
	listener, err := listening.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
