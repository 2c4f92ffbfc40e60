package membership

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestMain(m *testing.M) {
	// A check is a world with thirty audiences evaluated three times: 15 of them are a thousand comparisons, as many as a minute allows; CI asks for more.
	for name, value := range map[string]string{"rapid.checks": "15", "rapid.shrinktime": "1s", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestMembersEqualTheDefinition is the invariant of this package: whatever the rules, the data, the merges and the order
// of evaluations, the stored members are those that a reading of the rule row by row gives, and the log adds up to them.
func TestMembersEqualTheDefinition(t *testing.T) {
	conn := warehousetest.Open(t)
	compared, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		ctx := t.Context()
		reset(ctx, r, conn)
		w := &world{overrides: map[uint64]uint64{}, stored: map[string][]uint64{}}
		store := New(conn)
		now := time.Date(2026, 11, 23, 12, 0, 0, 123e6, time.UTC)
		rules := map[string]matches{}
		known := map[string]*v1alpha1.Audience{}
		revisions := map[string]uint64{}

		for range 3 {
			w.grow(r, now)
			w.insert(ctx, r, conn)
			due := draw(r, w, known, rules, &refused)
			plan, err := audience.Compile(due, now)
			if err != nil {
				r.Fatalf("compiling: %v", err)
			}
			if chance(r, 3) {
				store = New(conn) // another process has taken over
			}
			results, err := store.Evaluate(ctx, plan)
			if err != nil {
				r.Fatalf("evaluating: %v", err)
			}
			expected := w.members(plan, known, rules, now)
			for _, a := range due {
				compared++
				changed := results[a.Name].Revision != revisions[a.Name]
				if want := revisions[a.Name] == 0 || !slices.Equal(expected[a.Name], w.stored[a.Name]) || a.Annotations["edited"] != ""; changed != want {
					r.Errorf("%s: revision %d -> %d, want a new one: %v", a.Name, revisions[a.Name], results[a.Name].Revision, want)
				}
				if size := uint64(len(expected[a.Name])); results[a.Name].Size != size {
					r.Errorf("%s: size %d, want %d", a.Name, results[a.Name].Size, size)
				}
				revisions[a.Name], a.Annotations = results[a.Name].Revision, nil
			}
			maps.Copy(w.stored, expected)
			for name, got := range stored(ctx, r, conn) {
				if diff := cmp.Diff(w.stored[name], got); diff != "" {
					r.Errorf("members of %s (-want +got):\n%s\n%s\n%s", name, diff, audience.Definition(known[name]), plan.Members(audience.Bucket{}))
				}
			}
			if diff := cmp.Diff(stored(ctx, r, conn), folded(ctx, r, conn)); diff != "" {
				r.Errorf("the log does not add up to the members (-members +log):\n%s", diff)
			}
			now = now.Add(pick(r, []time.Duration{time.Millisecond, time.Hour, 29 * 24 * time.Hour}))
		}
	})
	t.Logf("compared %d evaluations, %d random rules refused", compared, refused)
	if compared < 600 {
		t.Errorf("only %d comparisons: the generator makes too few valid rules", compared)
	}
}

// audiences of a world. One statement computes all that are due, so that many cost little more than few.
const audiences = 30

// draw edits some audiences and adds others, checks that exactly the negative ones are refused, and gives those due.
func draw(r *rapid.T, w *world, known map[string]*v1alpha1.Audience, rules map[string]matches, refused *int) []*v1alpha1.Audience {
	var due []*v1alpha1.Audience
	for i := range audiences {
		// Names do not sort in the order that audiences ask for each other, and a chain of them stays below the bound.
		name := fmt.Sprintf("aud-%d", i*7%audiences)
		var others []string
		for j := i - i%12; j < i; j++ {
			if other := fmt.Sprintf("aud-%d", j*7%audiences); known[other] != nil {
				others = append(others, other)
			}
		}
		if known[name] == nil || chance(r, 6) {
			a, rule := random(r, name, others)
			nobody, uncertain := asNobody(a, rule)
			if err := audience.Validate(a, known); !uncertain && (err != nil) != nobody {
				r.Fatalf("true for a profile without data: %v, but validation says %v\n%s", nobody, err, audience.Definition(a))
			} else if uncertain && nobody && err == nil {
				r.Fatalf("a rule that part of all profiles without data satisfies is let through\n%s", audience.Definition(a))
			} else {
				nobody = err != nil
			}
			if nobody {
				*refused++
				continue
			}
			if old := known[name]; old != nil && audience.Definition(old) != audience.Definition(a) {
				a.Annotations = map[string]string{"edited": "yes"}
			}
			known[name], rules[name] = a, rule
		}
		if a := known[name]; a.Annotations["edited"] != "" || len(w.stored) == 0 || !chance(r, 3) {
			due = append(due, a)
		}
	}
	return due
}

// asNobody answers for a profile without data. uncertain says that a sample takes part: then every answer of the samples
// is tried.
func asNobody(a *v1alpha1.Audience, rule matches) (holds, uncertain bool) {
	var samples []string
	answers := map[string]bool{}
	for _, c := range a.Spec.Criteria {
		if c.Sample != nil {
			samples = append(samples, c.Name)
			continue
		}
		one := &v1alpha1.Audience{}
		one.Spec.Criteria = []v1alpha1.Criterion{c}
		answers[c.Name] = (&world{}).holds(one, func(answer func(string) bool) bool { return answer(c.Name) }, 0, time.Time{}, func(string) bool { return false })
	}
	for mask := range 1 << len(samples) {
		for i, name := range samples {
			answers[name] = mask>>i&1 == 1
		}
		holds = holds || rule(func(name string) bool { return answers[name] })
	}
	return holds, len(samples) > 0
}

// members are those of every due audience, evaluated one by one in the plan's order.
func (w *world) members(plan audience.Plan, known map[string]*v1alpha1.Audience, rules map[string]matches, now time.Time) map[string][]uint64 {
	current := maps.Clone(w.stored)
	out := map[string][]uint64{}
	for _, planned := range plan.Audiences {
		members := []uint64{}
		for profile := uint64(1); profile <= profiles; profile++ {
			if w.resolve(profile) != profile {
				continue
			}
			isMember := func(of string) bool {
				return slices.ContainsFunc(current[of], func(p uint64) bool { return w.resolve(p) == profile })
			}
			if w.holds(known[planned.Name], rules[planned.Name], profile, now, isMember) {
				members = append(members, profile)
			}
		}
		current[planned.Name], out[planned.Name] = members, members
	}
	return out
}

func reset(ctx context.Context, r *rapid.T, conn driver.Conn) {
	for _, table := range []string{"events", "traits", "profiles", "profile_overrides", "memberships", "membership_log", "audience_revisions"} {
		if err := conn.Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			r.Fatal(err)
		}
	}
}

// insert brings the warehouse up to the world: rows that are there already are written again where the table allows it.
func (w *world) insert(ctx context.Context, r *rapid.T, conn driver.Conn) {
	var have uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM events").Scan(&have); err != nil {
		r.Fatal(err)
	}
	var e struct {
		names, properties []string
		profiles          []uint64
		occurred          []time.Time
	}
	for _, row := range w.events[have:] {
		e.names, e.properties = append(e.names, row.name), append(e.properties, row.properties)
		e.profiles, e.occurred = append(e.profiles, row.profile), append(e.occurred, row.occurred)
	}
	var tr struct {
		names, values []string
		profiles, seq []uint64
		occurred      []time.Time
	}
	for i, row := range w.traits {
		tr.seq = append(tr.seq, uint64(i))
		tr.names, tr.values = append(tr.names, row.name), append(tr.values, row.value)
		tr.profiles, tr.occurred = append(tr.profiles, row.profile), append(tr.occurred, row.occurred)
	}
	var ids []string
	var ordinals []uint64
	for p := uint64(1); p <= profiles; p++ {
		ids, ordinals = append(ids, publicID(p)), append(ordinals, p)
	}
	var losers, survivors, versions []uint64
	for loser, survivor := range w.overrides {
		losers, survivors, versions = append(losers, loser), append(survivors, survivor), append(versions, uint64(len(w.overrides)))
	}
	const at = "DateTime64(3, 'UTC')"
	for _, err := range []error{
		warehouse.Insert(ctx, conn, "events", "", warehouse.Column{Name: "event", Type: "String", Values: e.names},
			warehouse.Column{Name: "profile", Type: "UInt64", Values: e.profiles}, warehouse.Column{Name: "occurred", Type: at, Values: e.occurred},
			warehouse.Column{Name: "properties", Type: "String", Values: e.properties}),
		warehouse.Insert(ctx, conn, "traits", "", warehouse.Column{Name: "name", Type: "String", Values: tr.names},
			warehouse.Column{Name: "profile", Type: "UInt64", Values: tr.profiles}, warehouse.Column{Name: "occurred", Type: at, Values: tr.occurred},
			warehouse.Column{Name: "value", Type: "String", Values: tr.values}, warehouse.Column{Name: "seq", Type: "UInt64", Values: tr.seq}),
		warehouse.Insert(ctx, conn, "profiles", "", warehouse.Column{Name: "profile", Type: "UInt64", Values: ordinals}, warehouse.Column{Name: "id", Type: "String", Values: ids}),
		warehouse.Insert(ctx, conn, "profile_overrides", "", warehouse.Column{Name: "profile", Type: "UInt64", Values: losers},
			warehouse.Column{Name: "survivor", Type: "UInt64", Values: survivors}, warehouse.Column{Name: "version", Type: "UInt64", Values: versions}),
	} {
		if err != nil {
			r.Fatal(err)
		}
	}
}

func stored(ctx context.Context, r *rapid.T, conn driver.Conn) map[string][]uint64 {
	return sets(ctx, r, conn, "SELECT toString(audience), arraySort(groupArrayIf(profile, deleted = 0)) FROM (SELECT audience, profile, argMax(deleted, revision) AS deleted FROM memberships GROUP BY audience, profile) GROUP BY audience")
}

// folded is what the log adds up to; a change that stands in it twice, or does not change anything, spoils the sum.
func folded(ctx context.Context, r *rapid.T, conn driver.Conn) map[string][]uint64 {
	return sets(ctx, r, conn, "SELECT toString(audience), arraySort(groupArrayArray(arrayWithConstant(abs(n), if(n = 1, profile, 1000000 + profile)))) FROM (SELECT audience, profile, sum(if(change = 'entered', 1, -1)) AS n FROM membership_log GROUP BY audience, profile) GROUP BY audience")
}

func sets(ctx context.Context, r *rapid.T, conn driver.Conn, query string) map[string][]uint64 {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		r.Fatal(err)
	}
	out := map[string][]uint64{}
	if err := each(rows, func() error {
		var name string
		members := []uint64{}
		err := rows.Scan(&name, &members)
		out[name] = append([]uint64{}, members...)
		return err
	}); err != nil {
		r.Fatal(err)
	}
	return out
}
