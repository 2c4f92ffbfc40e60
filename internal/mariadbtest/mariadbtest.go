// Package mariadbtest runs a throw-away MariaDB server for a test: a real one, for a fake would not have its types and its
// errors.
package mariadbtest

import (
	"bytes"
	"context"
	"database/sql"
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

	_ "github.com/go-sql-driver/mysql" // the driver that Exec uses
)

const (
	// nobody is the user that the server runs as when the test runs as root, for MariaDB refuses root.
	nobody = 65534
	// startTime is how long a server may take on a busy machine until it answers.
	startTime = 60 * time.Second
)

// Server is a MariaDB server on the loopback that ends with its test, also when the test process is killed.
type Server struct {
	tb   testing.TB
	dir  string
	port int
	log  *bytes.Buffer
	cmd  *exec.Cmd
	hold io.Closer // the server lives while this is open
}

// Start makes and starts a server with the user kohort, password secret. Without MariaDB's binaries the test fails and
// says what to install.
func Start(tb testing.TB) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kohort-mariadbtest-*")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			tb.Fatal(err)
		}
	}
	s := &Server{tb: tb, dir: dir, log: &bytes.Buffer{}}
	install := s.command("mariadb-install-db", "--no-defaults", "--datadir="+s.data(), "--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		tb.Fatalf("mariadb-install-db: %v; this test needs a real MariaDB: apt-get install mariadb-server-core mariadb-client-core\n%s", err, out)
	}
	var listening net.ListenConfig
	free, err := listening.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	s.start()
	s.exec("root:@", "mysql", "CREATE USER kohort@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kohort@localhost WITH GRANT OPTION")
	return s
}

// DSN is the connection string of a database of the server, as a Source has it.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("mysql://kohort:secret@127.0.0.1:%d/%s", s.port, database)
}

// Exec runs statements in a database; mysql is always there.
func (s *Server) Exec(database string, statements ...string) {
	s.tb.Helper()
	s.exec("kohort:secret@", database, statements...)
}

func (s *Server) exec(user, database string, statements ...string) {
	s.tb.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%stcp(127.0.0.1:%d)/%s", user, s.port, database))
	if err != nil {
		s.tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range statements {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			s.tb.Fatalf("running %q: %v", statement, err)
		}
	}
}

// Stop kills the server, as a machine that fails does.
func (s *Server) Stop() {
	s.tb.Helper()
	_ = s.hold.Close()
	_ = s.cmd.Wait() // it was killed
}

// Restart starts a stopped server on the same data and port.
func (s *Server) Restart() {
	s.tb.Helper()
	s.start()
}

func (s *Server) start() {
	s.tb.Helper()
	// The shell ends the server when its input ends: Go closes it in the cleanup, the kernel when the test process dies.
	s.cmd = s.command("/bin/sh", "-c", `"$@" & pid=$!; cat >/dev/null; kill -KILL $pid; wait $pid`, "sh",
		program("mariadbd"), "--no-defaults", "--datadir="+s.data(), "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", s.port),
		"--socket="+filepath.Join(s.dir, "socket"), "--pid-file="+filepath.Join(s.dir, "pid"), "--innodb-flush-log-at-trx-commit=0",
		"--innodb-buffer-pool-size=16M", "--skip-name-resolve=0")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	hold, err := s.cmd.StdinPipe()
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("starting MariaDB: %v", err)
	}
	s.hold = hold
	s.tb.Cleanup(func() {
		_ = s.hold.Close()
		_ = s.cmd.Wait()
	})
	db, err := sql.Open("mysql", fmt.Sprintf("root:@tcp(127.0.0.1:%d)/mysql", s.port))
	if err != nil {
		s.tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for deadline := time.Now().Add(startTime); db.PingContext(context.Background()) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = s.hold.Close()
			_ = s.cmd.Wait()
			s.tb.Fatalf("MariaDB does not answer:\n%s", s.log)
		}
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// program finds one that Debian keeps out of everybody's PATH.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...) // ended by the cleanup, which waits
	cmd.Dir = s.dir
	cmd.Env = append(slices.Clip(os.Environ()), "HOME="+s.dir, "LC_ALL=C")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}
