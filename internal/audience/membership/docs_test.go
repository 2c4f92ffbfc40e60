package membership_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// An example of the page: its manifest, and the members that the page says it has.
var example = regexp.MustCompile(`(?s)### [0-9]+\. ([^\n]+)\n\n` + "```yaml" + `\n(.*?)` + "```" + `\n\n\*\*Members:\*\* ([^.]+)\.`)

// TestExamplesOfTheDocumentation sends what the page says was sent through ingestion, and computes every example.
func TestExamplesOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/audiences.md")
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	conn := warehousetest.Open(t)
	calls := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(page)
	if calls == nil {
		t.Fatal("the page has no block of calls")
	}
	store(t, conn, noon, strings.Split(strings.TrimSpace(string(calls[1])), "\n"))

	var due []*v1alpha1.Audience
	known, want := map[string]*v1alpha1.Audience{}, map[string]string{}
	for _, e := range example.FindAllStringSubmatch(string(page), -1) {
		a := &v1alpha1.Audience{}
		if err := yaml.UnmarshalStrict([]byte(e[2]), a); err != nil {
			t.Fatalf("%s: %v", e[1], err)
		}
		if known[a.Name] != nil {
			t.Fatalf("two examples are named %s", a.Name)
		}
		due, known[a.Name], want[a.Name] = append(due, a), a, e[3]
	}
	if len(due) != 20 {
		t.Fatalf("found %d examples, want 20", len(due))
	}
	for _, a := range due {
		if err := audience.Validate(a, known); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
	plan, err := audience.Compile(due, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := membership.New(conn).Evaluate(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	for name, got := range members(t, conn) {
		if got != want[name] {
			t.Errorf("%s: members are %s; the page says %s", name, got, want[name])
		}
		delete(want, name)
	}
	for name, members := range want {
		t.Errorf("%s: has no members; the page says %s", name, members)
	}
}

// store ingests calls that are received at a moment.
func store(t *testing.T, conn driver.Conn, received time.Time, calls []string) {
	t.Helper()
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	var message []byte
	for _, call := range calls {
		message = stream.Append(message, stream.Record{Kind: stream.KindEvent, Received: received, Source: "shop", Party: "First", Body: []byte(call)})
	}
	if _, err := js.Publish(t.Context(), stream.Subject("shop"), message); err != nil {
		t.Fatal(err)
	}
	ingestion := ingest.New(ingest.Config{Conn: conn, JetStream: js, Rules: func() []identity.Rule { return rules }})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- ingestion.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for ingestion.Stats().Stored+ingestion.Stats().Quarantined < uint64(len(calls)) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if s := ingestion.Stats(); s.Stored != uint64(len(calls)) {
		t.Fatalf("%d of %d calls are stored: %+v", s.Stored, len(calls), s)
	}
}

var rules = []identity.Rule{
	{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "email", Limit: 5, Normalize: identity.Email},
	{Type: "anonymousId", Limit: 5, Normalize: identity.Exact},
}

// members are the names of each Audience's members in alphabetical order: the userId, or the anonymousId of those who have none.
func members(t *testing.T, conn driver.Conn) map[string]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT m.audience, arraySort(groupArray(n.name)) FROM (SELECT audience, profile FROM memberships FINAL) AS m
		LEFT ANY JOIN (SELECT root, if(maxIf(value, type = 'userId') != '', maxIf(value, type = 'userId'), max(value)) AS name
			FROM (SELECT if(o.survivor = 0, i.profile, o.survivor) AS root, type, value FROM (SELECT * FROM identities FINAL) AS i
				LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS o ON o.profile = i.profile) GROUP BY root) AS n
		ON n.root = m.profile GROUP BY m.audience`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var audience string
		var names []string
		if err := rows.Scan(&audience, &names); err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		out[audience] = strings.Join(names, ", ")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(fmt.Errorf("reading members: %w", err))
	}
	return out
}
