package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// bench is a real stream and a real warehouse for pulls.
type bench struct {
	js      jetstream.JetStream
	log     *stream.Publisher
	cursors *Cursors
	root    string // of files
	read    uint64 // sequence of the newest message that events has given
}

func newBench(t *testing.T) *bench {
	t.Helper()
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	log := stream.NewPublisher(js, stream.Subject("crm"), stream.PublisherOptions{})
	t.Cleanup(func() { log.Close(context.Background()) })
	return &bench{js: js, log: log, root: t.TempDir(), cursors: NewCursors(warehousetest.Open(t), "crm", time.Now)}
}

func (b *bench) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.root, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

var slot = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

func (b *bench) options(order run.PullOrder) Options {
	order.Platform, order.Source, order.Party = "shop", "crm", "First"
	if order.Slot.IsZero() {
		order.Slot = slot
	}
	if order.Files != nil && order.Files.Root == "" {
		order.Files.Root = b.root
	}
	return Options{Order: order, Log: b.log, Cursors: b.cursors, HTTP: NewHTTPClient(), Now: time.Now,
		DSN: func() (string, error) { return "", errors.New("no DSN") }}
}

// pull runs an order that must succeed.
func (b *bench) pull(t *testing.T, order run.PullOrder) run.Report {
	t.Helper()
	report, err := Run(t.Context(), b.options(order))
	if err != nil {
		t.Fatalf("the run failed: %v; report %+v", err, report)
	}
	return report
}

// fail runs an order that must fail for a reason, and gives the message.
func (b *bench) fail(t *testing.T, order run.PullOrder, reason string, fatal bool) string {
	t.Helper()
	report, err := Run(t.Context(), b.options(order))
	var failure *run.Failure
	if !errors.As(err, &failure) || failure.Reason != reason || failure.Fatal != fatal {
		t.Fatalf("got %v (%+v), want a failure for %s, fatal %t; report %+v", err, failure, reason, fatal, report)
	}
	return err.Error()
}

// events gives what was published since the last call, as the engine understands it.
func (b *bench) events(t *testing.T) event.Parsed {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return event.Parsed{}
	}
	if err != nil {
		t.Fatal(err)
	}
	var parsed event.Parsed
	for last := s.CachedInfo().State.LastSeq; b.read < last; {
		b.read++
		m, err := s.GetMsg(t.Context(), b.read)
		if err != nil {
			t.Fatal(err)
		}
		parsed.Add(event.Message{Seq: m.Sequence, Subject: m.Subject, Data: m.Data})
	}
	return parsed
}

func ids(parsed event.Parsed) []string {
	var out []string
	for _, e := range parsed.Events {
		out = append(out, e.MessageID)
	}
	slices.Sort(out)
	return out
}

const customers = `
root.type = "identify"
root.userId = this.id
root.traits.email = this.email
root.traits.visits = this.visits.number()
`

func csvOrder(url, mapping string) run.PullOrder {
	return run.PullOrder{Mapping: mapping, Files: &run.Files{URL: url, Format: "CSV"}}
}

func TestPullReadsEachFormatAndPacking(t *testing.T) {
	b := newBench(t)
	table := "id,email,visits\nu1,a@example.com,3\nu2,b@example.com,4\n"
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(table)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.file(t, "a.csv", table)
	b.file(t, "b.csv.gz", packed.String())
	b.file(t, "c.jsonl", `{"id":"u1","email":"a@example.com","visits":3}`+"\n"+`{"id":"u2","email":"b@example.com","visits":4}`+"\n")
	b.file(t, "d.parquet", string(parquetFile(t, everyType{Name: "u1", Big: 3}, everyType{Name: "u2", Big: 4})))
	for name, format := range map[string]string{"a.csv": "CSV", "b.csv.gz": "CSV", "c.jsonl": "JSONL", "d.parquet": "Parquet"} {
		mapping := customers
		if format == "Parquet" {
			mapping = "root.type = \"identify\"\nroot.userId = this.name\nroot.traits.visits = this.big"
		}
		report := b.pull(t, run.PullOrder{Mapping: mapping, Files: &run.Files{URL: "file:///" + name, Format: format}})
		if report.Read != 2 || report.Published != 2 || report.Rejected != 0 {
			t.Errorf("%s: got %+v", name, report)
		}
		got := b.events(t)
		if len(got.Events) != 2 || len(got.Rejections) != 0 {
			t.Fatalf("%s: the stream holds %+v", name, got)
		}
		for i, e := range got.Events {
			want := []string{"3", "4"}[i]
			visits := ""
			for _, trait := range e.Traits {
				if trait.Name == "visits" {
					visits = trait.Value
				}
			}
			if e.UserID != []string{"u1", "u2"}[i] || e.Source != "crm" || e.Party != "First" || visits != want {
				t.Errorf("%s: event %d is %+v", name, i, e)
			}
		}
	}
}

func TestPullReadsAnUnchangedFileOnce(t *testing.T) {
	b := newBench(t)
	b.file(t, "a.csv", "id,email,visits\nu1,a@example.com,3\n")
	b.file(t, "b.csv", "id,email,visits\nu2,b@example.com,4\n")
	order := csvOrder("file:///*.csv", customers)
	if report := b.pull(t, order); report.Read != 2 {
		t.Fatalf("got %+v", report)
	}
	b.events(t)
	if report := b.pull(t, order); report.Read != 0 || report.Published != 0 || report.Message == "" {
		t.Errorf("nothing changed: got %+v", report)
	}
	order.Again = true
	if report := b.pull(t, order); report.Read != 2 || report.Published != 2 {
		t.Errorf("a run that a person asked for reads everything again: got %+v", report)
	}
	order.Again = false
	b.file(t, "b.csv", "id,email,visits\nu2,b@example.com,5\nu3,c@example.com,1\n")
	if report := b.pull(t, order); report.Read != 2 || report.Published != 2 {
		t.Errorf("one file changed: got %+v", report)
	}
	order.Mapping += "root.traits.plan = \"free\"\n"
	if report := b.pull(t, order); report.Read != 3 {
		t.Errorf("another mapping reads everything again: got %+v", report)
	}
}

func TestPullGivesTheSameIDsToTheSameRows(t *testing.T) {
	b := newBench(t)
	const mapping = "root.type = \"track\"\nroot.event = this.event\nroot.userId = this.id"
	b.file(t, "a.csv", "id,event\nu1,Seen\nu1,Seen\nu2,Seen\n")
	b.pull(t, csvOrder("file:///a.csv", mapping))
	first := ids(b.events(t))
	if len(first) != 3 || first[0] == first[1] || first[1] == first[2] {
		t.Fatalf("equal rows of a file are different events: got %q", first)
	}
	b.file(t, "a.csv", "id,event\nu1,Seen\nu1,Seen\nu2,Seen\nu3,Seen\n") // a row was appended
	b.pull(t, csvOrder("file:///a.csv", mapping))
	again := ids(b.events(t))
	for _, id := range first {
		if !slices.Contains(again, id) {
			t.Errorf("the row with id %s got another one", id)
		}
	}
	const list = "root = [{\"type\":\"track\",\"event\":\"A\",\"userId\":this.id},{\"type\":\"track\",\"event\":\"B\",\"userId\":this.id},null,{\"type\":\"identify\",\"userId\":this.id,\"messageId\":\"mine-\"+this.id}]"
	b.pull(t, csvOrder("file:///a.csv", list))
	of := ids(b.events(t))
	if len(of) != 12 || !slices.Contains(of, "mine-u3") || len(slices.Compact(slices.Clone(of))) != 11 { // mine-u1 is there twice
		t.Errorf("a list of events: got ids %q", of)
	}
}

func TestPullQuarantinesWhatItCannotUseAndGoesOn(t *testing.T) {
	b := newBench(t)
	b.file(t, "a.csv", strings.Join([]string{"id,email,visits",
		"u1,a@example.com,3",
		"u2,b@example.com,many", // the mapping fails
		"u3,c@example.com",      // not a row of this table
		",,4",                   // an event that says nothing about whose it is
		"leave,out,5",
		"u6,f@example.com,6",
		"u7,g@example.com,lots",
	}, "\n")+"\n")
	report := b.pull(t, csvOrder("file:///a.csv", `
root.type = "identify"
root.userId = if this.id != "" { this.id }
root.traits.email = if this.email != "" { this.email } else { deleted() }
root.properties.visits = this.visits.number()
root = if this.id == "leave" { deleted() }
`))
	want := run.Report{Read: 7, Published: 2, Rejected: 4, Rejections: []run.Rejection{
		{Reason: "MappingFailed", Count: 2}, {Reason: "InvalidCSV", Count: 1}, {Reason: "NoIdentifier", Count: 1},
	}}
	examples := report.Rejections
	report.Rejections = nil
	for _, rejection := range examples {
		if strings.Contains(rejection.Example, "many") || strings.Contains(rejection.Example, "@") || !strings.Contains(rejection.Example, "record ") {
			t.Errorf("the example %q must say where, without what a customer's record holds", rejection.Example)
		}
		rejection.Example = ""
		report.Rejections = append(report.Rejections, rejection)
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got := b.events(t)
	originals := map[string]string{}
	for _, r := range got.Rejections {
		originals[r.Original] = r.Stage + " " + r.Reason
		if !strings.HasPrefix(r.Message, "file:///a.csv, record ") {
			t.Errorf("the message %q must say where the record is", r.Message)
		}
	}
	if len(got.Events) != 2 || originals["u2,b@example.com,many"] != "mapping MappingFailed" || originals["u3,c@example.com"] != "read InvalidCSV" {
		t.Errorf("quarantine holds %v", originals)
	}
}

func TestAMappingThatNeverWorksFailsTheRun(t *testing.T) {
	b := newBench(t)
	b.file(t, "a.csv", "id,email,visits\nu1,a@example.com,many\nu2,b@example.com,lots\n")
	order := csvOrder("file:///a.csv", customers)
	message := b.fail(t, order, "MappingInvalid", true)
	if !strings.Contains(message, "none of 2 records") || !strings.Contains(message, "line 5") || strings.Contains(message, "many") {
		t.Errorf("the message must say which line of the mapping, without values: %s", message)
	}
	if got := b.events(t); len(got.Events)+len(got.Rejections) != 0 {
		t.Errorf("quarantine must not become a copy of the source: %+v", got)
	}
	order.Mapping = strings.Replace(customers, ".number()", "", 1)
	if report := b.pull(t, order); report.Published != 2 {
		t.Errorf("with the mapping corrected everything is read: got %+v", report)
	}
	for _, bad := range []struct{ why, mapping, want string }{
		{"a syntax error", "root.type = \"track\"\nroot.event = this..x\n", "line 2"},
		{"a function that does not exist", "root = frobnicate()", "line 1"},
		{"reading the environment", `root.a = env("HOME")`, "line 1"},
		{"reading files", `root.a = file("/etc/passwd")`, "line 1"},
		{"another mapping's file", `import "/etc/passwd"`, "import"},
		{"following schema references over the network", `root = this.json_schema("{}")`, "line 1"},
	} {
		message := b.fail(t, csvOrder("file:///a.csv", bad.mapping), "MappingInvalid", true)
		if !strings.Contains(message, bad.want) || !strings.Contains(message, "spec.mapping") {
			t.Errorf("%s: got %s", bad.why, message)
		}
	}
	message = b.fail(t, csvOrder("file:///a.csv", `root = this.id`), "MappingInvalid", true)
	if !strings.Contains(message, "root is a text") {
		t.Errorf("a mapping that gives no object: got %s", message)
	}
}

func TestPullReachesNothingOutsideOfTheClaim(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(outside, []byte("id,email,visits\nu1,a@example.com,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(b.root, "link.csv")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.root, "dir.csv"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.file(t, "b [1].csv", "id,email,visits\nu1,a@example.com,3\n")
	if err := os.Symlink("b [1].csv", filepath.Join(b.root, "inside.csv")); err != nil {
		t.Fatal(err)
	}
	for why, url := range map[string]string{
		"..": "file:///../secret.csv", "an absolute path": "file:////etc/passwd", "a link": "file:///link.csv", "a missing file": "file:///none.csv",
		"encoded ..": "file:///%2e%2e/secret.csv", "a host": "file://host/a.csv",
	} {
		if message := b.fail(t, csvOrder(url, customers), "SourceUnreachable", true); strings.Contains(message, outside) {
			t.Errorf("%s: %s", why, message)
		}
	}
	for url, read := range map[string]int64{"file:///inside.csv": 1, "file:///b%20[1].csv": 1, "file:///none-*.csv": 0, "file:///dir.c?v": 0} {
		if report := b.pull(t, csvOrder(url, customers)); report.Read != read {
			t.Errorf("%s: got %+v, want %d records", url, report, read)
		}
	}
}

func TestPullMovieLens(t *testing.T) {
	const file = "../../../shared/data/movielens.csv.gz"
	if _, err := os.Stat(file); err != nil {
		t.Skip("the data set is not on this machine")
	}
	b := newBench(t)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b.file(t, "movielens.csv.gz", string(content))
	report := b.pull(t, csvOrder("file:///movielens.csv.gz", `
root.type = "track"
root.event = "Rated"
root.userId = this.userId
root.timestamp = this.timestamp.number().ts_format("2006-01-02T15:04:05Z", "UTC")
root.properties.movieId = this.movieId
root.properties.title = this.title
root.properties.year = this.year.number().catch(null)
root.properties.rating = this.rating.number()
root.properties.genres = this.genres.split("|")
`))
	const ratings = 100_004
	if report.Read != ratings || report.Published != ratings || report.Rejected != 0 {
		t.Fatalf("got %+v", report)
	}
	got := b.events(t)
	users, unique, films := map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, e := range got.Events {
		users[e.UserID], unique[e.MessageID] = true, true
		var properties struct {
			Rating float64
			Genres []string
		}
		if err := json.Unmarshal([]byte(e.Properties), &properties); err != nil || e.Name != "Rated" || properties.Rating == 0 || len(properties.Genres) == 0 {
			t.Fatalf("event %+v: %v", e, err)
		}
		if slices.Contains(properties.Genres, "Sci-Fi") && properties.Rating >= 4 {
			films[e.UserID]++
		}
	}
	fans := 0
	for _, n := range films {
		if n >= 10 {
			fans++
		}
	}
	if len(got.Events) != ratings || len(unique) != ratings || len(users) != 671 || fans != 219 {
		t.Errorf("got %d events, %d different, of %d users, %d of them fans of Sci-Fi; want %d, all different, 671 and 219", len(got.Events), len(unique), len(users), fans, ratings)
	}
}

func TestReasonsAreThoseOfTheAPI(t *testing.T) {
	want := []string{v1alpha1.ReasonSourceUnreachable, v1alpha1.ReasonQueryFailed, v1alpha1.ReasonMappingInvalid, v1alpha1.ReasonRunFailed, v1alpha1.ReasonSecretNotFound}
	got := []string{reasonSourceUnreachable, reasonQueryFailed, reasonMappingInvalid, reasonRunFailed, reasonSecretNotFound}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-api +here):\n%s", diff)
	}
}

// A run reads what its interval names, and tells the mapping what it covers.
func TestInterval(t *testing.T) {
	b := newBench(t)
	b.file(t, "orders-2026-11-22.csv", "id\n1\n")
	b.file(t, "orders-2026-11-23.csv", "id\n2\n")
	order := run.PullOrder{
		Mapping:  `root = {"type": "track", "event": "Order", "userId": this.id, "properties": {"from": metadata("from"), "to": metadata("to")}}`,
		Files:    &run.Files{URL: "file:///orders-{from:yyyy-MM-dd}.csv", Format: "CSV"},
		Interval: &run.Interval{From: slot.Add(-24 * time.Hour), To: slot},
	}
	if report := b.pull(t, order); report.Published != 1 {
		t.Errorf("report %+v", report)
	}
	got := b.events(t)
	if len(got.Events) != 1 || got.Events[0].UserID != "1" || got.Events[0].Properties != `{"from":"2026-11-22T06:00:00Z","to":"2026-11-23T06:00:00Z"}` {
		t.Errorf("events %+v", got.Events)
	}
	order.Files.URL = "file:///orders-{from:YYYY}.csv"
	b.fail(t, order, reasonInvalidSpec, true)
}
