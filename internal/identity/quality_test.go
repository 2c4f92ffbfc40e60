package identity

import (
	"fmt"
	"strings"
	"testing"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
)

// What the default rules must reach, over pairs of events.
const (
	goalPrecision = 0.999
	goalRecall    = 0.99
)

func upper(text string) string { return strings.ToUpper(text) }

// score compares profiles with people.
type score struct {
	precision, recall   float64 // of pairs of events that are one profile's, and one person's
	bPrecision, bRecall float64 // the same of an event's company, over all events (B-cubed)
	largest             int     // profile, in identifiers
}

// judge leaves events of nobody out.
func judge(owner []int, assigned []uint64) score {
	profiles, people, both := map[uint64]float64{}, map[int]float64{}, map[[2]uint64]float64{}
	n := 0.0
	for i, person := range owner {
		if person < 0 {
			continue
		}
		n++
		profiles[assigned[i]]++
		people[person]++
		both[[2]uint64{uint64(person), assigned[i]}]++
	}
	pairs := func(n float64) float64 { return n * (n - 1) / 2 }
	var right, together, wanted float64
	var s score
	for _, n := range profiles {
		together += pairs(n)
	}
	for _, n := range people {
		wanted += pairs(n)
	}
	for k, m := range both {
		right += pairs(m)
		s.bPrecision += m * m / profiles[k[1]] / n
		s.bRecall += m * m / people[int(k[0])] / n
	}
	s.precision, s.recall = right/together, right/wanted
	return s
}

// resolveAll gives the profile of each event after all of them, from batches as the engine makes them.
func resolveAll(t testing.TB, rules []Rule, events []event.Event) (assigned []uint64, largest int) {
	t.Helper()
	m := newMemory()
	// The store in memory answers slowly: caches that hold all ask it about nothing.
	r, err := newResolver(rules, m, 2*len(events), 2*len(events))
	if err != nil {
		t.Fatal(err)
	}
	const batch = 20_000
	next := uint64(1)
	for first := 0; first < len(events); first += batch {
		part := events[first:min(first+batch, len(events))]
		c, err := r.Resolve(t.Context(), Batch{First: uint64(first + 1), Last: uint64(first + len(part)), Next: next, Events: part})
		if err != nil {
			t.Fatal(err)
		}
		m.apply(c, 3)
		assigned, next = append(assigned, c.Assigned...), c.Next
	}
	sizes := map[uint64]int{}
	for _, row := range m.identities {
		root := m.root(row.value.Profile)
		sizes[root]++
		largest = max(largest, sizes[root])
	}
	for i := range assigned {
		assigned[i] = m.root(assigned[i])
	}
	return assigned, largest
}

// platformRules are the rules of a Platform as the engine has them.
func platformRules(identifiers ...v1alpha1.IdentifierRule) []Rule {
	p := &v1alpha1.Platform{}
	p.Spec.Identity.Identifiers = identifiers
	var rules []Rule
	for _, r := range p.Identifiers() {
		rules = append(rules, Rule{
			Type: r.Type, Limit: r.Limit, Unique: r.Unique, Normalize: r.Normalize, Region: r.Region, Compose: r.Compose,
		})
	}
	return rules
}

// kinds of truth, by the rules that are meant for them.
func kinds(n int) map[string]func() (*truth, []Rule) {
	return map[string]func() (*truth, []Rule){
		"events": func() (*truth, []Rule) { return newTruth(n), platformRules() },
		"files": func() (*truth, []Rule) {
			return newRecords(n), platformRules(
				v1alpha1.IdentifierRule{Type: "email"}, v1alpha1.IdentifierRule{Type: "phone", Region: "DE"},
				v1alpha1.IdentifierRule{Type: "person", Limit: 1, Compose: []string{"firstName", "lastName", "birthDate"}})
		},
	}
}

func measure(t testing.TB, population func() (*truth, []Rule)) score {
	t.Helper()
	g, rules := population()
	assigned, largest := resolveAll(t, rules, g.events)
	s := judge(g.owner, assigned)
	s.largest = largest
	return s
}

// The default rules find people again, whom devices, families, testers and machines make hard to tell apart.
func TestQuality(t *testing.T) {
	for kind, population := range kinds(60_000) {
		s := measure(t, population)
		t.Logf("%s: %+v", kind, s)
		if s.precision < goalPrecision || s.recall < goalRecall {
			t.Errorf("%s: pairwise precision is %.5f and recall %.5f, want %.3f and %.2f", kind, s.precision, s.recall, goalPrecision, goalRecall)
		}
	}
}

// BenchmarkFigureIdentityQuality measures the same over a million events, or as many records.
func BenchmarkFigureIdentityQuality(b *testing.B) {
	for b.Loop() {
		for _, kind := range []string{"events", "files"} {
			s := measure(b, kinds(1_000_000)[kind])
			name := "identity-quality-" + kind
			quality(name+"-precision", s.precision, goalPrecision)
			quality(name+"-recall", s.recall, goalRecall)
			quality(name+"-bcubed-precision", s.bPrecision, goalPrecision)
			quality(name+"-bcubed-recall", s.bRecall, goalRecall)
			verdict := "ok"
			if s.largest > MaxIdentifiers {
				verdict = "short"
			}
			fmt.Printf("%s-largest %d identifiers goal %d %s\n", name, s.largest, MaxIdentifiers, verdict)
		}
	}
}

func quality(name string, value, goal float64) {
	verdict := "ok"
	if value < goal {
		verdict = "short"
	}
	fmt.Printf("%s %.5f of-1 goal %.3f %s\n", name, value, goal, verdict)
}
