package membership

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestGuardStops(t *testing.T) {
	for _, c := range []struct {
		why   string
		guard Guard
		size  uint64
		flow  Flow
		stops bool
	}{
		{"as much as is allowed", Guard{MaxPercent: 20}, 1000, Flow{150, 50}, false},
		{"one more, whether it enters or leaves", Guard{MaxPercent: 20}, 1000, Flow{150, 51}, true},
		{"nobody to lose yet", Guard{MaxPercent: 20}, 0, Flow{Entered: 1000}, false},
		{"a small audience moves much by a few", Guard{MaxPercent: 20, MinChange: 100}, 10, Flow{90, 10}, false},
		{"more than a few", Guard{MaxPercent: 20, MinChange: 100}, 10, Flow{91, 10}, true},
		{"growing three times is allowed by 200 %", Guard{MaxPercent: 200}, 10, Flow{Entered: 20}, false},
		{"an audience that empties", Guard{MaxPercent: 99}, 10, Flow{Left: 10}, true},
		{"nothing changes", Guard{MaxPercent: 1}, 10, Flow{}, false},
	} {
		if got := c.guard.stops(c.size, c.flow); got != c.stops {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}

// guarded is a warehouse with an audience of 100 that may change by 10 %.
type guarded struct {
	*testing.T
	conn  *broken
	store *Store
	at    time.Time
	guard Guard
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	conn := &broken{Conn: warehousetest.Open(t)}
	g := &guarded{T: t, conn: conn, store: New(conn), at: noon, guard: Guard{MaxPercent: 10, MinChange: 5}}
	buy(t, conn, 1, 101)
	g.expect("the first evaluation, of nobody before", Result{Revision: 1, Size: 100, Entered: 100})
	return g
}

func (g *guarded) evaluate(due ...*v1alpha1.Audience) (map[string]Result, error) {
	if len(due) == 0 {
		due = []*v1alpha1.Audience{buyers()}
	}
	g.at = g.at.Add(time.Minute)
	return g.store.EvaluateGuarded(g.Context(), due, g.at, map[string]Guard{"buyers": g.guard})
}

// expect evaluates and compares; it gives the change that is kept back.
func (g *guarded) expect(why string, want Result, due ...*v1alpha1.Audience) *Hold {
	g.Helper()
	results, err := g.evaluate(due...)
	if err != nil {
		g.Fatalf("%s: %v", why, err)
	}
	got := results["buyers"]
	held := got.Held
	got.Held = nil
	if diff := cmp.Diff(want, got); diff != "" {
		g.Errorf("%s (-want +got):\n%s", why, diff)
	}
	return held
}

func (g *guarded) members() string {
	return text(g.T, g.conn, "SELECT toString((count(), max(profile))) FROM memberships FINAL WHERE audience = 'buyers'")
}

func TestGuardKeepsAChangeBackUntilItIsApproved(t *testing.T) {
	g := newGuarded(t)
	buy(t, g.conn, 101, 131)
	first := g.expect("30 more are too many", Result{Revision: 1, Size: 100})
	if first == nil || first.Entered != 30 || first.Left != 0 || first.Token == "" {
		t.Fatalf("kept back: %+v", first)
	}
	if got := g.members(); got != "(100,100)" {
		t.Errorf("members %s, want those of before", got)
	}
	if flows, err := g.store.Flows(t.Context(), noon.Add(90*time.Second)); err != nil || len(flows) != 0 {
		t.Errorf("the log tells of a change that is kept back: %v, %v", flows, err)
	}

	buy(t, g.conn, 131, 133)
	g.store = New(g.conn) // another process
	if again := g.expect("what is kept back stays what it was", Result{Revision: 1, Size: 100}); again == nil || again.Token != first.Token || again.Entered != 30 || !again.At.Equal(first.At) {
		t.Errorf("kept back: %+v, want %+v", again, first)
	}
	g.guard.Approved = "1-00000000"
	g.expect("another token approves nothing", Result{Revision: 1, Size: 100})
	g.guard.Approved = first.Token
	if held := g.expect("30 as approved, then the two that came since", Result{Revision: 3, Size: 132, Entered: 32}); held != nil {
		t.Errorf("kept back: %+v", held)
	}
	if got := text(t, g.conn, "SELECT toString(arraySort(groupArray((revision, n)))) FROM (SELECT revision, count() AS n FROM membership_log GROUP BY revision)"); got != "[(1,100),(2,30),(3,2)]" {
		t.Errorf("the log has %s: exactly what was approved must be a revision of its own", got)
	}
	if got := text(t, g.conn, "SELECT toString((SELECT count() FROM membership_held) + (SELECT count() FROM audience_holds) + (SELECT count() FROM membership_staged))"); got != "0" {
		t.Errorf("%s rows are left of what was kept back", got)
	}

	buy(t, g.conn, 133, 163)
	held := g.expect("the token of before does not approve the next change", Result{Revision: 3, Size: 132})
	if held == nil || held.Entered != 30 || held.Token == first.Token {
		t.Fatalf("kept back: %+v", held)
	}
	buy(t, g.conn, 163, 166)
	g.guard.Approved, g.guard.Request = held.Token, "now"
	g.expect("an approval counts for what is there, also beside a request", Result{Revision: 5, Size: 165, Entered: 33})
}

func TestGuardForgetsAChangeThatIsObsolete(t *testing.T) {
	g := newGuarded(t)
	buy(t, g.conn, 101, 131)
	stopped := Result{Revision: 1, Size: 100}
	first := g.expect("too many", stopped)
	buy(t, g.conn, 131, 133)
	g.guard.Request = "now"
	asked := g.expect("a request has it computed anew", stopped)
	if asked.Token == first.Token || asked.Entered != 32 {
		t.Errorf("kept back: %+v, before %+v", asked, first)
	}
	edited := buyers()
	edited.Spec.Criteria[0].Event.Count = &v1alpha1.Count{Min: new(int64(1))}
	g.guard.Approved = asked.Token
	other := g.expect("what was approved is not what another rule gives", Result{Revision: 1, Size: 100, Stale: true}, edited)
	if other == nil || other.Token == asked.Token {
		t.Errorf("kept back: %+v, before %+v", other, asked)
	}
	exec(t, g.conn, "DELETE FROM events WHERE profile > 105")
	if held := g.expect("it has come right by itself", Result{Revision: 2, Size: 105, Entered: 5}); held != nil {
		t.Errorf("kept back: %+v", held)
	}
	exec(t, g.conn, "DELETE FROM events WHERE profile <= 50")
	if held := g.expect("half of them leave", Result{Revision: 2, Size: 105}); held == nil || held.Left != 50 || held.Entered != 0 {
		t.Fatalf("kept back: %+v", held)
	}
	results, err := g.store.EvaluateGuarded(t.Context(), []*v1alpha1.Audience{buyers()}, g.at.Add(time.Minute), nil)
	if err != nil || results["buyers"].Size != 55 || len(g.store.holds) != 0 {
		t.Errorf("without its guard: %+v, %v, still kept back: %v", results["buyers"], err, g.store.holds)
	}
}

// Audiences that ask for one whose change is kept back must not see that change, and the others must not wait.
func TestGuardOfAnAudienceThatOthersAskFor(t *testing.T) {
	g := newGuarded(t)
	nested, apart := buyers(), buyers()
	nested.Name, apart.Name = "nested", "apart"
	nested.Spec.Criteria = []v1alpha1.Criterion{{Name: "bought", Audience: &v1alpha1.LocalReference{Name: "buyers"}}}
	for _, held := range []bool{true, false} {
		if held {
			buy(t, g.conn, 101, 131)
		}
		results, err := g.evaluate(nested, buyers(), apart)
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(130)
		if held {
			want = 100
			g.guard.Approved = results["buyers"].Held.Token
		}
		if results["buyers"].Size != want || results["nested"].Size != want || results["apart"].Size != 130 {
			t.Errorf("kept back %v: %+v", held, results)
		}
	}
}

// Whatever a crash leaves, what was not approved is not published, and the next evaluation goes on.
func TestCrashWhileAChangeIsKeptBack(t *testing.T) {
	for _, before := range []string{"INSERT INTO membership_staged", "INSERT INTO membership_held", "INSERT INTO audience_holds", "TRUNCATE TABLE membership_staged"} {
		t.Run(before, func(t *testing.T) {
			g := newGuarded(t)
			buy(t, g.conn, 101, 131)
			g.conn.prefix = before
			if _, err := g.evaluate(); err == nil {
				t.Fatal("the evaluation went on after a statement that failed")
			}
			g.conn.prefix = ""
			g.store = New(g.conn)
			held := g.expect("again", Result{Revision: 1, Size: 100})
			if held == nil || held.Entered != 30 {
				t.Fatalf("kept back: %+v", held)
			}
			if got := text(t, g.conn, "SELECT toString((count(), uniqExact(token))) FROM membership_held"); got != "(30,1)" {
				t.Errorf("rows and tokens kept back: %s", got)
			}
			g.guard.Approved = held.Token
			g.conn.prefix = "DELETE FROM audience_holds"
			if _, err := g.evaluate(); err == nil {
				t.Fatal("the evaluation went on after a statement that failed")
			}
			g.conn.prefix = ""
			g.expect("approved once, and not twice", Result{Revision: 2, Size: 130})
			if got := text(t, g.conn, "SELECT toString(count()) FROM membership_log"); got != "130" {
				t.Errorf("the log has %s rows", got)
			}
		})
	}
}

// expected is what guarded audiences must be, by sets: of those who bought, and of those who are members of the former.
type expected struct {
	customers map[uint64]bool
	members   map[string]map[uint64]bool
	held      map[string]map[uint64]bool
	requests  map[string]string
}

func distance(a, b map[uint64]bool) (f Flow) {
	for p := range b {
		if !a[p] {
			f.Entered++
		}
	}
	for p := range a {
		if !b[p] {
			f.Left++
		}
	}
	return f
}

func (m *expected) evaluate(name string, want map[uint64]bool, g Guard, approved bool) {
	if approved {
		m.members[name] = m.held[name]
		delete(m.held, name)
	}
	change := distance(m.members[name], want)
	switch {
	case !g.stops(uint64(len(m.members[name])), change):
		m.members[name] = maps.Clone(want)
		delete(m.held, name)
	case m.held[name] == nil || m.requests[name] != g.Request:
		m.held[name], m.requests[name] = maps.Clone(want), g.Request
	}
}

// TestGuardedMembersEqualTheModel : whatever happens, and in whatever order, the members are those of the last change that
// was small enough or approved.
func TestGuardedMembersEqualTheModel(t *testing.T) {
	conn := warehousetest.Open(t)
	payers := payers()
	payers.Name = "buyers"
	nested := buyers()
	nested.Name = "nested"
	nested.Spec.Criteria = []v1alpha1.Criterion{{Name: "bought", Audience: &v1alpha1.LocalReference{Name: "buyers"}}}
	stops := 0
	rapid.Check(t, func(r *rapid.T) {
		for _, table := range []string{"traits", "memberships", "membership_log", "audience_revisions", "membership_held", "audience_holds"} {
			if err := conn.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
				r.Fatal(err)
			}
		}
		store := New(conn)
		m := &expected{map[uint64]bool{}, map[string]map[uint64]bool{"buyers": {}, "nested": {}}, map[string]map[uint64]bool{}, map[string]string{}}
		guards := map[string]Guard{
			"buyers": {MaxPercent: rapid.Int32Range(1, 120).Draw(r, "percent"), MinChange: rapid.Uint64Range(0, 4).Draw(r, "min")},
			"nested": {MaxPercent: rapid.Int32Range(1, 120).Draw(r, "percent"), MinChange: rapid.Uint64Range(0, 4).Draw(r, "min")},
		}
		at := noon
		for step := range 7 {
			move(r, conn, m, step)
			if chance(r, 4) {
				store = New(conn)
			}
			approved := map[string]bool{}
			for _, name := range []string{"buyers", "nested"} {
				g := guards[name]
				if chance(r, 5) {
					g.Request = fmt.Sprint(step)
				}
				if h, ok := store.holds[name]; ok && chance(r, 2) {
					g.Approved = h.Token
				}
				guards[name] = g
				approved[name] = m.held[name] != nil && g.Approved != "" && g.Approved == store.holds[name].Token
			}
			at = at.Add(time.Minute)
			results, err := store.EvaluateGuarded(t.Context(), []*v1alpha1.Audience{nested, payers}, at, guards)
			if err != nil {
				r.Fatal(err)
			}
			m.evaluate("buyers", m.customers, guards["buyers"], approved["buyers"])
			m.evaluate("nested", m.members["buyers"], guards["nested"], approved["nested"])
			got := stored(t.Context(), r, conn)
			for _, name := range []string{"buyers", "nested"} {
				want := append([]uint64{}, slices.Sorted(maps.Keys(m.members[name]))...)
				if diff := cmp.Diff(want, append([]uint64{}, got[name]...)); diff != "" {
					r.Fatalf("step %d: members of %s (-want +got):\n%s", step, name, diff)
				}
				held := results[name].Held
				if (held != nil) != (m.held[name] != nil) || held != nil && held.Flow != distance(m.members[name], m.held[name]) {
					r.Fatalf("step %d: of %s is kept back %+v, want %v", step, name, held, m.held[name])
				}
				if held != nil {
					stops++
				}
			}
			if diff := cmp.Diff(got, folded(t.Context(), r, conn)); diff != "" {
				r.Fatalf("the log does not add up to the members (-members +log):\n%s", diff)
			}
		}
	})
	t.Logf("%d changes were kept back", stops)
	if stops < 10 {
		t.Errorf("only %d changes were kept back: the generator makes too few large ones", stops)
	}
}

// payers are those who have a plan.
func payers() *v1alpha1.Audience {
	a := buyers()
	a.Name = "payers"
	a.Spec.Criteria = []v1alpha1.Criterion{{Name: "pays", Trait: &v1alpha1.TraitCriterion{Name: "plan", Operator: v1alpha1.OperatorExists}}}
	return a
}

// move makes some profiles customers, or takes their plan away.
func move(r *rapid.T, conn driver.Conn, m *expected, step int) {
	from := rapid.Uint64Range(1, 40).Draw(r, "from")
	to := from + rapid.Uint64Range(0, 12).Draw(r, "more")
	value := `"pro"`
	gone := chance(r, 2)
	if gone {
		value = "null"
	}
	statement := fmt.Sprintf("INSERT INTO traits (profile, name, value, occurred) SELECT number, 'plan', '%s', %s FROM numbers(%d, %d)",
		value, audience.Moment(noon.Add(time.Duration(step)*time.Second)), from, to-from)
	if err := conn.Exec(r.Context(), statement); err != nil {
		r.Fatal(err)
	}
	for p := from; p < to; p++ {
		if gone {
			delete(m.customers, p)
		} else {
			m.customers[p] = true
		}
	}
}
