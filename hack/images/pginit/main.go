// Command pginit is the entrypoint of the PostgreSQL image that the demo and
// the tests use: it makes the database on first use and becomes the server.
//
// It reads PGDATA (the data directory, whose parent is writable),
// POSTGRES_PASSWORD, POSTGRES_USER (default postgres) and POSTGRES_DB (default
// the user's name).
package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Getenv, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pginit:", err)
		os.Exit(1)
	}
}

// settings are what the environment asks for.
type settings struct {
	data, user, password, database string
}

func readSettings(getenv func(string) string) (settings, error) {
	s := settings{
		data:     getenv("PGDATA"),
		user:     cmp.Or(getenv("POSTGRES_USER"), "postgres"),
		password: getenv("POSTGRES_PASSWORD"),
	}
	s.database = cmp.Or(getenv("POSTGRES_DB"), s.user)
	if !filepath.IsAbs(s.data) {
		return s, fmt.Errorf("PGDATA is %q: set it to an absolute path", s.data)
	}
	if s.password == "" {
		return s, errors.New("POSTGRES_PASSWORD is not set: the server lets no one in without one")
	}
	return s, nil
}

// run makes the database unless it is there, and then replaces this process by
// the server, with further arguments passed on.
func run(getenv func(string) string, args []string) error {
	s, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := initialize(s); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("looking for a database in %s: %w", s.data, err)
	}
	// Where a volume has an fsGroup, kubelet opens the directory to that group
	// before each start, and the server then refuses it.
	if err := os.Chmod(s.data, 0o700); err != nil {
		return fmt.Errorf("closing %s to others: %w", s.data, err)
	}
	server, err := exec.LookPath("postgres")
	if err != nil {
		return fmt.Errorf("finding the server: %w", err)
	}
	command := append([]string{server, "-D", s.data, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp"}, args...)
	return syscall.Exec(server, command, withoutPassword(os.Environ()))
}

// initialize makes the database beside its place and moves it there when it
// is complete: a pod that is killed meanwhile leaves no half of one.
func initialize(s settings) error {
	partial := s.data + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("removing what an earlier start left: %w", err)
	}
	passwordFile, err := writePassword(s.password)
	if err != nil {
		return err
	}
	defer os.Remove(passwordFile)
	if err := start(nil, "initdb", "--pgdata", partial, "--username", s.user, "--pwfile", passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"); err != nil {
		return fmt.Errorf("making the database: %w", err)
	}
	access, err := os.OpenFile(filepath.Join(partial, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("allowing access from other pods: %w", err)
	}
	_, err = access.WriteString("host all all all scram-sha-256\n")
	if err := errors.Join(err, access.Close()); err != nil {
		return fmt.Errorf("allowing access from other pods: %w", err)
	}
	if s.database != "postgres" { // which initdb makes
		statement := strings.NewReader(`CREATE DATABASE "` + strings.ReplaceAll(s.database, `"`, `""`) + `"` + "\n")
		if err := start(statement, "postgres", "--single", "-D", partial, "postgres"); err != nil {
			return fmt.Errorf("making the database %s: %w", s.database, err)
		}
	}
	if err := os.Rename(partial, s.data); err != nil {
		return fmt.Errorf("putting the database in place: %w", err)
	}
	return nil
}

// writePassword writes the password to a file, for initdb takes it from
// nowhere else without asking.
func writePassword(password string) (string, error) {
	file, err := os.CreateTemp("", "password-*")
	if err != nil {
		return "", fmt.Errorf("writing the password for initdb: %w", err)
	}
	_, err = file.WriteString(password + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("writing the password for initdb: %w", err)
	}
	return file.Name(), nil
}

// start runs a program to its end, with its output among this process's.
func start(stdin *strings.Reader, name string, args ...string) error {
	command := exec.Command(name, args...)
	if stdin != nil {
		command.Stdin = stdin
	}
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = withoutPassword(os.Environ())
	return command.Run()
}

// withoutPassword drops the password, which neither initdb nor the server needs.
func withoutPassword(environment []string) []string {
	var kept []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "POSTGRES_PASSWORD=") {
			kept = append(kept, variable)
		}
	}
	return kept
}
