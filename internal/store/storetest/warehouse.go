// Package storetest starts real stores for tests.
//
// The warehouse runs in a child process, because libchdb allows one data
// directory per process and takes the process down when it crashes. The child
// is this same test binary, run again: importing the package is enough, no
// TestMain is needed.
package storetest

import (
	"os"
	"path/filepath"
	"testing"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/warehouse"
)

// libraryVersion is the pinned release of libchdb.
const libraryVersion = "26.7.3-stable.1"

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
	p := StartWarehouse(t, warehouse.Config{})
	return p.URL, User, Password
}

// StartWarehouse starts a warehouse that the test can kill and start again.
// What cfg leaves out gets a value fit for tests: a temporary directory, a
// free port, [User] and [Password], 2 GiB of memory and no floor of free space.
func StartWarehouse(t testing.TB, cfg warehouse.Config) *Process {
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
	p := &Process{child: child{Warehouse: &cfg}}
	p.Start(t)
	t.Cleanup(p.cleanup)
	return p
}
