package membership

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func buyers() *v1alpha1.Audience {
	a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "buyers", Generation: 1}}
	a.Spec.Criteria = []v1alpha1.Criterion{{Name: "bought", Event: &v1alpha1.EventCriterion{Name: "Order Completed"}}}
	return a
}

func compiled(t *testing.T, at time.Time, due ...*v1alpha1.Audience) audience.Plan {
	t.Helper()
	plan, err := audience.Compile(due, at)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func exec(t *testing.T, conn driver.Conn, statement string) {
	t.Helper()
	if err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func text(t *testing.T, conn driver.Conn, query string) string {
	t.Helper()
	var out string
	if err := conn.QueryRow(t.Context(), query).Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// buy makes profiles from..to-1 customers.
func buy(t *testing.T, conn driver.Conn, from, to int) {
	t.Helper()
	exec(t, conn, fmt.Sprintf("INSERT INTO events (event, profile, occurred, received) SELECT 'Order Completed', number, '2026-11-23 11:00:00', '2026-11-23 11:00:00' FROM numbers(%d, %d)", from, to-from))
}

const (
	membersQuery = "SELECT toString(arraySort(groupArray(profile))) FROM memberships FINAL WHERE audience = 'buyers'"
	logQuery     = "SELECT toString(arraySort(groupArray((revision, toString(change), profile)))) FROM membership_log WHERE audience = 'buyers'"
)

func TestRevisionsCountChangesOnly(t *testing.T) {
	conn := warehousetest.Open(t)
	store := New(conn)
	evaluate := func(a *v1alpha1.Audience, at time.Time) Result {
		t.Helper()
		results, err := store.Evaluate(t.Context(), compiled(t, at, a))
		if err != nil {
			t.Fatal(err)
		}
		return results["buyers"]
	}
	expect := func(why string, got, want Result) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", why, diff)
		}
	}
	expect("the first evaluation of nobody is a revision", evaluate(buyers(), noon), Result{Revision: 1})
	buy(t, conn, 1, 4)
	expect("three entered", evaluate(buyers(), noon.Add(time.Minute)), Result{Revision: 2, Size: 3, Entered: 3})
	expect("nothing changed", evaluate(buyers(), noon.Add(2*time.Minute)), Result{Revision: 2, Size: 3})
	edited := buyers()
	edited.Spec.Criteria[0].Event.Count = &v1alpha1.Count{Min: new(int64(1))}
	expect("another definition with the same members", evaluate(edited, noon.Add(3*time.Minute)), Result{Revision: 3, Size: 3})
	exec(t, conn, "INSERT INTO profile_overrides (profile, survivor, version) VALUES (2, 1, 1)")
	expect("the profile that was merged into another one left", evaluate(edited, noon.Add(4*time.Minute)), Result{Revision: 4, Size: 2, Left: 1})

	flows, err := store.Flows(t.Context(), noon.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	expect("flow since the second evaluation", Result{Entered: flows["buyers"].Entered, Left: flows["buyers"].Left}, Result{Left: 1})

	if err := store.Remove(t.Context(), []string{"buyers"}, noon.Add(5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := text(t, conn, membersQuery); got != "[]" {
		t.Errorf("members after removal: %s", got)
	}
	revisions, err := store.Revisions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Revision{Number: 5}, revisions["buyers"]); diff != "" {
		t.Errorf("revision after removal (-want +got):\n%s", diff)
	}
	expect("made again, it goes on counting", evaluate(buyers(), noon.Add(6*time.Minute)), Result{Revision: 6, Size: 2, Entered: 2})
}

// broken fails every statement that starts with a prefix, as a crash before it would.
type broken struct {
	driver.Conn
	prefix string
}

func (b *broken) Exec(ctx context.Context, query string, args ...any) error {
	if b.prefix != "" && strings.HasPrefix(query, b.prefix) {
		return fmt.Errorf("killed before %s", b.prefix)
	}
	return b.Conn.Exec(ctx, query, args...)
}

func TestCrashBetweenWrites(t *testing.T) {
	conn := warehousetest.Open(t)
	for _, before := range []string{"INSERT INTO membership_log", "INSERT INTO memberships", "INSERT INTO audience_revisions"} {
		for _, restarted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, restarted %v", before, restarted), func(t *testing.T) {
				for _, table := range []string{"events", "memberships", "membership_log", "audience_revisions"} {
					exec(t, conn, "TRUNCATE TABLE "+table)
				}
				faulty := &broken{Conn: conn}
				store := New(faulty)
				buy(t, conn, 0, 2)
				if _, err := store.Evaluate(t.Context(), compiled(t, noon, buyers())); err != nil {
					t.Fatal(err)
				}
				buy(t, conn, 2, 4)
				faulty.prefix = before
				if _, err := store.Evaluate(t.Context(), compiled(t, noon.Add(time.Minute), buyers())); err == nil {
					t.Fatal("the evaluation went on after a statement that failed")
				}
				// Part of the log only: a large difference is written in several blocks, and a crash can fall between two.
				exec(t, conn, "DELETE FROM membership_log WHERE profile = 3")
				faulty.prefix = ""
				if restarted {
					store = New(faulty)
				}
				buy(t, conn, 4, 5)
				results, err := store.Evaluate(t.Context(), compiled(t, noon.Add(2*time.Minute), buyers()))
				if err != nil {
					t.Fatal(err)
				}
				if results["buyers"].Size != 5 {
					t.Errorf("size %d, want 5", results["buyers"].Size)
				}
				if got := text(t, conn, membersQuery); got != "[0,1,2,3,4]" {
					t.Errorf("members %s", got)
				}
				// After a crash before the log nothing was written, so all is one revision. After one before the last step
				// profile 3 is a member, and the row that this test took out of the log is not made again.
				log := map[string]string{
					"INSERT INTO membership_log":     "[(1,'entered',0),(1,'entered',1),(2,'entered',2),(2,'entered',3),(2,'entered',4)]",
					"INSERT INTO memberships":        "[(1,'entered',0),(1,'entered',1),(2,'entered',2),(3,'entered',3),(3,'entered',4)]",
					"INSERT INTO audience_revisions": "[(1,'entered',0),(1,'entered',1),(2,'entered',2),(3,'entered',4)]",
				}[before]
				if got := text(t, conn, logQuery); got != log {
					t.Errorf("log\n%s, want\n%s", got, log)
				}
			})
		}
	}
}

func TestBucketsAreTheWhole(t *testing.T) {
	conn := warehousetest.Open(t)
	buy(t, conn, 1, 1000)
	exec(t, conn, "INSERT INTO profile_overrides (profile, survivor, version) SELECT number * 10 + 10, number * 10 + 3, 1 FROM numbers(50)")
	exec(t, conn, "INSERT INTO memberships SELECT 'stored', number * 7, '2026-11-23 00:00:00', 1, 0 FROM numbers(100)")
	exec(t, conn, "INSERT INTO traits (profile, name, value, occurred) SELECT number, 'plan', '\"pro\"', '2026-11-23 00:00:00' FROM numbers(500)")
	a := buyers()
	a.Spec.Criteria = append(a.Spec.Criteria,
		v1alpha1.Criterion{Name: "stored", Audience: &v1alpha1.LocalReference{Name: "stored"}},
		v1alpha1.Criterion{Name: "pro", Trait: &v1alpha1.TraitCriterion{Name: "plan", Operator: v1alpha1.OperatorExists}})
	a.Spec.Match = "bought && (stored || !pro)"
	plan := compiled(t, noon, a)
	sum := func(bucket audience.Bucket) string {
		return text(t, conn, "SELECT toString((count(), sum(profile))) FROM ("+plan.Members(bucket)+")")
	}
	whole := sum(audience.Bucket{})
	var parts []string
	for i := range 3 {
		parts = append(parts, "SELECT * FROM ("+plan.Members(audience.Bucket{Index: i, Count: 3})+") WHERE "+audience.Bucket{Index: i, Count: 3}.Has("profile"))
	}
	if got := text(t, conn, "SELECT toString((count(), sum(profile))) FROM ("+strings.Join(parts, " UNION ALL ")+")"); got != whole {
		t.Errorf("three buckets hold %s, the whole %s", got, whole)
	}
	if whole == "(0,0)" {
		t.Error("nobody was found: the test compares nothing")
	}
}

// The largest statements that valid Audiences can make must be ones that the engine takes.
func TestLargestStatements(t *testing.T) {
	conn := warehousetest.Open(t)
	buy(t, conn, 1, 3)
	store := New(conn)
	evaluate := func(why string, size uint64, due ...*v1alpha1.Audience) {
		t.Helper()
		known := map[string]*v1alpha1.Audience{}
		for _, a := range due {
			known[a.Name] = a
		}
		for _, a := range due {
			if err := audience.Validate(a, known); err != nil {
				t.Fatalf("%s: %v", why, err)
			}
		}
		results, err := store.Evaluate(t.Context(), compiled(t, noon, due...))
		if err != nil {
			t.Fatalf("%s: %.500v", why, err)
		}
		for name, result := range results {
			if result.Size != size {
				t.Errorf("%s: %s has %d members, want %d", why, name, result.Size, size)
			}
		}
	}

	deep := buyers()
	for deep.Spec.Match = "bought"; ; {
		last := deep.Spec.Match
		deep.Spec.Match = "(bought && !(!" + last + "))"
		if len(deep.Spec.Match) > 4096 || audience.Validate(deep, nil) != nil {
			deep.Spec.Match = last
			break
		}
	}
	if len(deep.Spec.Match) < 300 {
		t.Fatalf("match has %d characters only: %s", len(deep.Spec.Match), deep.Spec.Match)
	}
	chain := []*v1alpha1.Audience{deep}
	for i := range 16 {
		next := deep.DeepCopy()
		next.Name = fmt.Sprintf("level-%d", i)
		next.Spec.Criteria = []v1alpha1.Criterion{{Name: "bought", Audience: &v1alpha1.LocalReference{Name: chain[i].Name}}}
		chain = append(chain, next)
	}
	evaluate("deep rules on deep rules", 2, chain...)

	var many []*v1alpha1.Audience
	for i := range 200 {
		a := buyers()
		a.Name = fmt.Sprintf("many-%d", i)
		a.Spec.Criteria[0].Event.Within = v1alpha1.Duration(fmt.Sprintf("%dd", i+1))
		many = append(many, a)
	}
	evaluate("many audiences", 2, many...)

	wide := buyers()
	for i := range 31 {
		c := v1alpha1.Criterion{Name: fmt.Sprintf("c%d", i), Event: &v1alpha1.EventCriterion{Name: "Order Completed"}}
		for j := range 16 {
			w := v1alpha1.PropertyCondition{Property: fmt.Sprintf("p%d", j), Operator: v1alpha1.OperatorNotEquals}
			for k := range 256 {
				w.Values = append(w.Values, apiextensionsv1.JSON{Raw: fmt.Appendf(nil, `"value %d %d %d"`, i, j, k)})
			}
			c.Event.Where = append(c.Event.Where, w)
		}
		wide.Spec.Criteria = append(wide.Spec.Criteria, c)
	}
	evaluate("as many values as an audience may have", 2, wide)
}
