// Package warehousetest gives tests a real warehouse with the current schema.
package warehousetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse"
)

// Open starts a store, opens it and migrates it, for as long as the test runs.
func Open(t testing.TB) driver.Conn {
	t.Helper()
	url, user, password := storetest.Warehouse(t)
	return Connect(t, url, user, password)
}

// Connect opens and migrates the warehouse at url.
func Connect(t testing.TB, url, user, password string) driver.Conn {
	t.Helper()
	conn, err := warehouse.Open(t.Context(), url, Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := warehouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Credentials writes a directory such as a mounted Secret is.
func Credentials(t testing.TB, user, password string) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{"username": user, "password": password} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
