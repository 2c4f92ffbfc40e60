package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
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
	volume := t.TempDir()
	table := func(driver string) run.SyncOrder {
		return run.SyncOrder{Table: &run.Table{Driver: driver, Name: "members"}}
	}
	return []kept{
		{"postgres", table("postgres"), []string{"--dsn-file", secretFile(t, pg)}, countPostgres(pg)},
		{"mysql", table("mysql"), []string{"--dsn-file", secretFile(t, maria.DSN("crm"))}, countMySQL(config.FormatDSN())},
		{"files", run.SyncOrder{Files: &run.FileTarget{URL: "file:///out", Format: "JSONL", Root: volume}}, nil, countFiles(filepath.Join(volume, "out", "vip"))},
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

// countFiles reads the files of an audience as docs/destinations/files.md says, and checks that they say how many it holds.
func countFiles(folder string) func(*testing.T) int {
	type record struct {
		Op, ID  string
		Version uint64
	}
	return func(t *testing.T) int {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(folder, "*", "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		newest := map[string]record{}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(content) {
				var r record
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if r.Version >= newest[r.ID].Version {
					newest[r.ID] = r
				}
			}
		}
		held := 0
		for _, r := range newest {
			if r.Op == "upsert" {
				held++
			}
		}
		var complete struct{ Members int }
		content, err := os.ReadFile(filepath.Join(folder, "_complete.json"))
		if err != nil || json.Unmarshal(content, &complete) != nil || complete.Members != held {
			t.Errorf("%s of %d members (%v)", content, held, err)
		}
		return held
	}
}
