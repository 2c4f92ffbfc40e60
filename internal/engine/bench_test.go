package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// What the figure profile is measured with.
const (
	benchProfiles = 1_000_000
	benchRate     = 200 // requests a second
	benchTime     = 20 * time.Second
	goalP95       = 20 // ms
)

// opened is a store that is connected.
type opened struct{ driver.Conn }

func (o opened) get() (driver.Conn, error) { return o.Conn, nil }

// BenchmarkFigureProfile asks the profile API for random customers of a million, at a rate that does not wait for answers.
func BenchmarkFigureProfile(b *testing.B) {
	if asked := os.Getenv("KOHORT_FIGURE"); asked != "" && asked != "profile" {
		b.Skip("another figure is asked for")
	}
	store := storetest.StartWarehouse(b, storewarehouse.Config{})
	conn := warehousetest.Connect(b, store.URL, storetest.User, storetest.Password)
	fill(b, conn)
	token := filepath.Join(b.TempDir(), "token")
	if err := os.WriteFile(token, []byte(apiToken), 0o600); err != nil {
		b.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	platform := &v1alpha1.Platform{ObjectMeta: named(platformName)}
	handler := (&api{
		tokenFile: token, objects: objects{fake.NewClientBuilder().WithScheme(scheme).WithObjects(platform).Build(), namespace, platformName},
		store: opened{conn}, metrics: newMetrics(prometheus.NewRegistry()), logger: slog.New(slog.DiscardHandler),
		finder: profile.NewFinder(), slots: make(chan struct{}, concurrent), previews: make(chan struct{}, 1),
	}).handler()
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	for b.Loop() {
		for _, kind := range []struct{ name, path string }{{"", "/audiences"}, {"-whole", "?events=10"}} {
			its, own := storetest.CPU(b, store.Pid()), storetest.CPU(b, os.Getpid())
			took := ask(b, server.URL, kind.path)
			its = storetest.CPU(b, store.Pid()) - its
			own = storetest.CPU(b, os.Getpid()) - own
			p50, p95, p99 := took[len(took)/2], took[len(took)*95/100], took[len(took)*99/100]
			verdict := "short"
			if p95 <= goalP95*time.Millisecond {
				verdict = "ok"
			}
			fmt.Printf("profile%s %.1f ms goal %d %s\n", kind.name, float64(p95.Microseconds())/1000, goalP95, verdict)
			b.Logf("%s: p50 %s, p95 %s, p99 %s of %d requests", kind.path, p50, p95, p99, len(took))
			// Of the warehouse, and of the engine with the clients in its process: what is left of a figure on a machine that is
			// busy with other things.
			b.ReportMetric(float64(its.Microseconds())/1000/float64(len(took)), "warehouse-cpu-ms/request"+kind.name)
			b.ReportMetric(float64(own.Microseconds())/1000/float64(len(took)), "engine-cpu-ms/request"+kind.name)
		}
	}
}

// fill makes a million customers: two identifiers and five traits each, twenty audiences of which each is in three, five
// events each, and one in twenty was merged into another.
func fill(b *testing.B, conn driver.Conn) {
	b.Helper()
	const at = "toDateTime64('2026-11-20 10:00:00', 3, 'UTC')"
	n := strconv.Itoa(benchProfiles)
	for _, statement := range []string{
		"INSERT INTO profiles (profile, id, rank, created, version) SELECT number + 1, generateUUIDv4(number), 0, " + at + ", 1 FROM numbers(%d)",
		"INSERT INTO identities (type, value, profile, since, version) SELECT 'userId', concat('user-', toString(number)), number + 1, " + at + ", 1 FROM numbers(%d)",
		"INSERT INTO identities (type, value, profile, since, version) SELECT 'anonymousId', toString(cityHash64(number)), number + 1, " + at + ", 1 FROM numbers(%d)",
		"INSERT INTO profile_identifiers (profile, type, value, since, version) SELECT number + 1, 'userId', concat('user-', toString(number)), " + at + ", 1 FROM numbers(%d)",
		"INSERT INTO profile_identifiers (profile, type, value, since, version) SELECT number + 1, 'anonymousId', toString(cityHash64(number)), " + at + ", 1 FROM numbers(%d)",
		"INSERT INTO profile_overrides (profile, survivor, version, parent, merged) SELECT number + 1, number, 1, number, 1 FROM numbers(%d) WHERE number % 20 = 19",
		"INSERT INTO traits (profile, name, value, source, party, occurred, seq) SELECT intDiv(number, 5) + 1, concat('trait', toString(number % 5)), concat('\"value ', toString(number), '\"'), 'crm', 'First', " + at + ", number FROM numbers(5 * %d)",
		"INSERT INTO memberships (audience, profile, since, revision, deleted) SELECT concat('audience-', toString(cityHash64(number) % 20)), intDiv(number, 3) + 1, " + at + ", 1, 0 FROM numbers(3 * %d)",
		"INSERT INTO events (event, type, profile, occurred, received, message_id, source, party, properties, context, seq) SELECT concat('Event ', toString(cityHash64(number) % 30)), 'track', number % %d + 1, " + at + " - number % 1000000, " + at + ", toString(number), 'web', 'First', '{\"total\":12.5}', '{}', number FROM numbers(5 * %d)",
	} {
		text := strings.ReplaceAll(statement, "%d", n)
		if err := conn.Exec(b.Context(), text); err != nil {
			b.Fatalf("%s: %v", text, err)
		}
	}
}

// ask sends requests at a fixed rate and gives how long each took since it was due, sorted.
func ask(b *testing.B, url, path string) []time.Duration {
	b.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var last error
	failed := 0
	var all sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	random := rand.New(rand.NewPCG(1, 2))
	began := time.Now()
	for i := range int(benchTime.Seconds()) * benchRate {
		due := began.Add(time.Duration(i) * time.Second / benchRate)
		time.Sleep(time.Until(due))
		user := random.IntN(benchProfiles)
		all.Go(func() {
			err := one(b.Context(), client, fmt.Sprintf("%s/v1/profiles/userId:user-%d%s", url, user, path))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed, last = failed+1, err
				return
			}
			took = append(took, time.Since(due))
		})
	}
	all.Wait()
	if failed > 0 {
		b.Logf("%s: %d requests failed, such as with %v", path, failed, last)
		took = append(took, slices.Repeat([]time.Duration{time.Minute}, failed)...) // who is sent away waits longest
	}
	slices.Sort(took)
	return took
}

func one(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+apiToken)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", response.StatusCode, body)
	}
	return err
}
