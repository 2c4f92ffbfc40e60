package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/destination/adtest"
	"kohort.dev/kohort/internal/mariadbtest"
	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// rehearsed runs "connector test" as a container does; it gives the rehearsal and everything that was written.
func rehearsed(t *testing.T, order run.TestOrder, args ...string) (destination.Rehearsal, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"test"}, args...)...)
	cmd.Env = append(os.Environ(), commandEnv+"=1", run.OrderVariable+"="+string(text))
	out, _ := cmd.CombinedOutput() // the outcome is in what it says
	for line := range strings.Lines(string(out)) {
		var said struct {
			Rehearsal *destination.Rehearsal `json:"rehearsal"`
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Rehearsal != nil {
			return *said.Rehearsal, string(out)
		}
	}
	t.Fatalf("no rehearsal in %s", out)
	return destination.Rehearsal{}, ""
}

// receiver is a destination of one kind.
type receiver struct {
	kind     string
	order    run.SyncOrder
	args     []string
	has      string // of what is shown
	answer   string // of what came back
	received func() int
}

// personalWords stand in the record of TestRehearsal, also as destinations write them.
var personalWords = []string{"ada.lovelace", "lovelace@", "4917012345678", "170 1234567", "u-4711", "1815", "Ockham"}

const aRecord = `{"identifiers": {"email": ["Ada.Lovelace@Example.com"], "phone": ["+49 170 12345678"], "userId": ["u-4711"]},
"traits": {"COUNTRY": "GB", "DOBY": 1815, "CT": "Ockham"}}`

// receivers are one of each kind.
func receivers(t *testing.T) []receiver {
	t.Helper()
	meta, google := adtest.NewMeta(t), adtest.NewGoogle(t)
	posted := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posted++
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"echo": %q, "login": %q}`, body, r.Header.Get("Authorization"))
	}))
	t.Cleanup(server.Close)
	count := func() int { return posted }
	pg := pgtest.Start(t)
	dsn := pg.Database("crm")
	natsURL, natsUser, natsPassword, _, _ := queue(t)
	cluster, err := kfake.NewCluster(kfake.SeedTopics(3, "members"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	maria := mariadbtest.Start(t)
	maria.Exec("mysql", "CREATE DATABASE crm CHARACTER SET utf8mb4")
	key := secretFile(t, "t0ken-not-to-be-shown")
	return []receiver{
		{"webhook", run.SyncOrder{Webhook: &run.Webhook{URL: server.URL + "/hook-secret"}}, []string{"--token-file", key}, `"op": "upsert"`, `"login": "Bearer …"`, count},
		{"segment", run.SyncOrder{Segment: &run.Segment{URL: server.URL, Calls: []string{"Identify", "Track"}}}, []string{"--token-file", key}, `"event": "Audience Entered"`, "200 OK", count},
		{"sql", run.SyncOrder{Table: &run.Table{Driver: "postgres", Name: "members"}}, []string{"--dsn-file", secretFile(t, dsn)}, "ON CONFLICT", "", nil},
		{"mysql", run.SyncOrder{Table: &run.Table{Driver: "mysql", Name: "members"}}, []string{"--dsn-file", secretFile(t, maria.DSN("crm"))}, "INSERT INTO `members`", "", nil},
		{"files", run.SyncOrder{Files: &run.FileTarget{URL: "file:///out", Format: "CSV", Root: t.TempDir()}}, nil, `"op": "upsert"`, "", nil},
		{"nats", run.SyncOrder{NATS: &run.NATSTarget{URLs: []string{natsURL}, Subject: "members", User: natsUser}}, []string{"--token-file", secretFile(t, natsPassword)}, `"type": "entered"`, "", nil},
		{"kafka", run.SyncOrder{Kafka: &run.KafkaTarget{Brokers: cluster.ListenAddrs(), Topic: "members"}}, nil, `"type": "entered"`, "", nil},
		{"connector", run.SyncOrder{Connector: &run.ConnectorTarget{Output: []byte(`{"nats_jetstream": {"urls": ["` + strings.Replace(natsURL, "://", "://"+natsUser+":${PASSWORD}@", 1) + `"], "subject": "members"}}`)}}, []string{"--secret", "PASSWORD=" + secretFile(t, natsPassword)}, `"type": "entered"`, "", nil},
		{"meta", run.SyncOrder{Meta: &run.Meta{URL: meta.URL + "/v25.0", Audience: meta.Audience}}, []string{"--token-file", secretFile(t, adtest.MetaToken)}, `"schema": [`, "num_received", meta.Requests},
		{"google", run.SyncOrder{Google: &run.Google{URL: google.URL, Account: run.GoogleAccount{Type: "GoogleAds", ID: "1234567890"}, Audience: "987"}},
			[]string{"--token-file", secretFile(t, google.Key)}, `"userIdentifiers": [`, "200 OK", func() int { return len(google.Calls()) }},
	}
}

func TestRehearsal(t *testing.T) {
	record := secretFile(t, aRecord)
	for _, r := range receivers(t) {
		t.Run(r.kind, func(t *testing.T) {
			order := run.TestOrder{SyncOrder: r.order}
			order.Platform, order.Sync, order.Audience, order.Destination, order.Mode = "shop", "test", "vip", r.kind, "Mirror"
			order.Slot = time.Unix(1795437000, 0).UTC()
			args := append([]string{"--warehouse-url", "http://127.0.0.1:1", "--record-file", record}, r.args...)
			before := 0
			if r.received != nil {
				before = r.received()
			}
			shown, said := rehearsed(t, order, args...)
			if shown.Sent || shown.Outcome != destination.OutcomeNotSent || len(shown.Exchanges) != 1 || !strings.Contains(shown.Exchanges[0].Body, r.has) {
				t.Fatalf("shown: %s", said)
			}
			if r.received != nil && r.received() != before {
				t.Error("something was sent that was to be shown")
			}
			order.Send = true
			sent, alsoSaid := rehearsed(t, order, args...)
			if !sent.Sent || sent.Outcome != destination.OutcomeDelivered || !strings.Contains(sent.Exchanges[0].Answer, r.answer) {
				t.Fatalf("sent: %s", alsoSaid)
			}
			if r.kind != "segment" && sent.Exchanges[0].Body != shown.Exchanges[0].Body { // whose calls carry the time
				t.Errorf("sent\n%s\nshown\n%s", sent.Exchanges[0].Body, shown.Exchanges[0].Body)
			}
			order.Remove = true
			gone, evenSaid := rehearsed(t, order, args...)
			if gone.Outcome != destination.OutcomeDelivered || gone.Exchanges[0].Body == sent.Exchanges[0].Body {
				t.Errorf("taken out: %s", evenSaid)
			}
			for _, word := range append(personalWords, "not-to-be-shown", adtest.MetaToken, "hook-secret", "PRIVATE KEY") {
				if text := said + alsoSaid + evenSaid; strings.Contains(strings.ToLower(text), strings.ToLower(word)) {
					t.Errorf("%q is shown:\n%s", word, text)
				}
			}
		})
	}
}

func TestRehearsalOfAMember(t *testing.T) {
	url, user, password := storetest.Warehouse(t)
	members(t, warehousetest.Connect(t, url, user, password), "vip")
	order := run.TestOrder{SyncOrder: run.SyncOrder{Platform: "shop", Sync: "test", Audience: "vip", Mode: "Mirror", Traits: map[string]string{"tariff": "plan"}, Webhook: &run.Webhook{URL: "http://mailer.test"}}}
	args := []string{"--warehouse-url", url, "--warehouse-credentials-dir", warehousetest.Credentials(t, user, password)}
	shown, said := rehearsed(t, order, args...)
	if shown.Outcome != destination.OutcomeNotSent || !strings.Contains(shown.Exchanges[0].Body, `"tariff": "…"`) || strings.Contains(said, "example.com") {
		t.Errorf("shown: %s", said)
	}
	order.Audience = "nobody"
	if none, said := rehearsed(t, order, args...); none.Outcome != destination.OutcomeFailed || none.Reason != "InvalidSpec" || !strings.Contains(none.Message, "--identifier") {
		t.Errorf("an audience without members: %s", said)
	}
	order.Audience = "vip"
	if failed, said := rehearsed(t, order, append(args, "--token-file", t.TempDir()+"/none")...); failed.Outcome != destination.OutcomeFailed || failed.Reason != "SecretNotFound" || !strings.Contains(failed.Message, "spec.webhook.tokenSecretRef") {
		t.Errorf("a missing Secret: %s", said)
	}
}
