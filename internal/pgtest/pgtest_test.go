package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/internal/pgtest"
)

func TestServerKeepsDataOverARestartAndRefusesBetween(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database("shop")
	server.Exec("shop", "CREATE TABLE orders (id int)", "INSERT INTO orders VALUES (1), (2)")
	server.Stop()
	if conn, err := pgx.Connect(context.Background(), dsn); err == nil {
		_ = conn.Close(context.Background())
		t.Fatal("a stopped server took a connection")
	}
	server.Restart()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var rows int
	if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM orders").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("after a restart: %d rows and error %v, want 2", rows, err)
	}
}
