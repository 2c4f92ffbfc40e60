package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"kohort.dev/kohort/internal/mariadbtest"
	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
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
	natsURL, natsUser, natsPassword, members, others := queue(t)
	cluster, err := kfake.NewCluster(kfake.SeedTopics(3, "members"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	table := func(driver string) run.SyncOrder {
		return run.SyncOrder{Table: &run.Table{Driver: driver, Name: "members"}}
	}
	return []kept{
		{"postgres", table("postgres"), []string{"--dsn-file", secretFile(t, pg)}, countPostgres(pg)},
		{"mysql", table("mysql"), []string{"--dsn-file", secretFile(t, maria.DSN("crm"))}, countMySQL(config.FormatDSN())},
		{"files", run.SyncOrder{Files: &run.FileTarget{URL: "file:///out", Format: "JSONL", Root: volume}}, nil, countFiles(filepath.Join(volume, "out", "vip"))},
		{"nats", run.SyncOrder{NATS: &run.NATSTarget{URLs: []string{natsURL}, Subject: "members", User: natsUser}}, []string{"--token-file", secretFile(t, natsPassword)}, countNATS(members)},
		{"kafka", run.SyncOrder{Kafka: &run.KafkaTarget{Brokers: cluster.ListenAddrs(), Topic: "members"}}, nil, countKafka(cluster)},
		{"connector", run.SyncOrder{Connector: &run.ConnectorTarget{Output: []byte(`{"nats_jetstream": {"urls": ["` + strings.Replace(natsURL, "://", "://"+natsUser+":${PASSWORD}@", 1) + `"], "subject": "others"}}`)}}, []string{"--secret", "PASSWORD=" + secretFile(t, natsPassword)}, countNATS(others)},
	}
}

// queue is a server of NATS with two streams, of the subjects members and others.
func queue(t *testing.T) (url, user, password string, members, others jetstream.Stream) {
	t.Helper()
	url, user, password = storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if members, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MEMBERS", Subjects: []string{"members"}}); err != nil {
		t.Fatal(err)
	}
	if others, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"others"}}); err != nil {
		t.Fatal(err)
	}
	return url, user, password, members, others
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

// customer is what files and messages say of one.
type customer struct {
	Op, Type, ID string
	Version      uint64
}

// fold keeps of each customer what has the greatest version.
type fold map[string]customer

func (f fold) add(t *testing.T, raw []byte) {
	t.Helper()
	var r customer
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if r.Version >= f[r.ID].Version {
		f[r.ID] = r
	}
}

// members that are left.
func (f fold) members() int {
	count := 0
	for _, r := range f {
		if r.Op == "upsert" || r.Type == "entered" || r.Type == "updated" {
			count++
		}
	}
	return count
}

// countFiles reads the files of an audience as docs/destinations/files.md says, and checks that they say how many it holds.
func countFiles(folder string) func(*testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(folder, "*", "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		newest := fold{}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(content) {
				newest.add(t, line)
			}
		}
		var complete struct{ Members int }
		content, err := os.ReadFile(filepath.Join(folder, "_complete.json"))
		if err != nil || json.Unmarshal(content, &complete) != nil || complete.Members != newest.members() {
			t.Errorf("%s of %d members (%v)", content, newest.members(), err)
		}
		return newest.members()
	}
}

func countNATS(s jetstream.Stream) func(*testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		newest := fold{}
		for i := info.State.FirstSeq; i <= info.State.LastSeq; i++ {
			m, err := s.GetMsg(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			newest.add(t, m.Data)
		}
		return newest.members()
	}
}

func countKafka(cluster *kfake.Cluster) func(*testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("members"))
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		newest := fold{}
		for quiet := 0; quiet < 3; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			fetches := reader.PollFetches(ctx)
			cancel()
			quiet++
			fetches.EachRecord(func(r *kgo.Record) {
				quiet = 0
				newest.add(t, r.Value)
			})
		}
		return newest.members()
	}
}
