package main

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/internal/mariadbtest"
	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
)

// keepers are destinations of the kinds whose content can be looked at.
func keepers(t *testing.T) []kept {
	t.Helper()
	pg := pgtest.Start(t).Database("crm")
	maria := mariadbtest.Start(t)
	maria.Exec("mysql", "CREATE DATABASE crm CHARACTER SET utf8mb4")
	config, err := mysqldsn.Parse(maria.DSN("crm"), 0)
	if err != nil {
		t.Fatal(err)
	}
	table := func(driver string) run.SyncOrder {
		return run.SyncOrder{Table: &run.Table{Driver: driver, Name: "members"}}
	}
	return []kept{
		{"postgres", table("postgres"), []string{"--dsn-file", secretFile(t, pg)}, countPostgres(pg)},
		{"mysql", table("mysql"), []string{"--dsn-file", secretFile(t, maria.DSN("crm"))}, countMySQL(config.FormatDSN())},
	}
}

const countMembers = "SELECT count(*) FROM members WHERE audience = 'vip'"

func countPostgres(dsn string) func(*testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		var count int
		if err := conn.QueryRow(t.Context(), countMembers).Scan(&count); err != nil {
			t.Fatal(err)
		}
		return count
	}
}

func countMySQL(dsn string) func(*testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		db, err := sql.Open("mysql", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		var count int
		if err := db.QueryRowContext(t.Context(), countMembers).Scan(&count); err != nil {
			t.Fatal(err)
		}
		return count
	}
}
