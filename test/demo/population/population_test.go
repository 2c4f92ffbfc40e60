package population

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func clock() time.Time { return time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC) }

func generate(t *testing.T, seed uint64, customers int) *Population {
	t.Helper()
	p, err := Generate(Config{Seed: seed, Customers: customers, Clock: clock()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSameSeedSameShop(t *testing.T) {
	a, b := generate(t, 7, 200), generate(t, 7, 200)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("two generations with one seed differ:\n%s", diff)
	}
	other := generate(t, 8, 200)
	if cmp.Equal(a.Customers, other.Customers) {
		t.Error("another seed made the same customers")
	}
}

func TestRefusesImpossibleConfig(t *testing.T) {
	for _, test := range []struct {
		why    string
		config Config
	}{
		{"a shop without customers has no showcase", Config{Clock: clock()}},
		{"without a clock ages mean nothing", Config{Customers: 1}},
	} {
		if _, err := Generate(test.config); err == nil {
			t.Errorf("%s: no error", test.why)
		}
	}
}

// TestRulesGiveTheTruth folds the events through the documented identity rules, written down naively, and compares the
// profiles with those that the population says. Touchpoints arrive independently of each other, so every order of them
// must give the same.
func TestRulesGiveTheTruth(t *testing.T) {
	for seed := range uint64(5) {
		p := generate(t, seed, 400)
		streams := p.streams()
		for _, order := range permutations(len(streams)) {
			var r rules
			found := make([]int, 0, 16_000)
			truth := make([]int, 0, 16_000)
			for _, i := range order {
				for _, s := range streams[i] {
					found = append(found, r.resolve(s.identifiers))
					truth = append(truth, s.profile)
				}
			}
			forth, back := map[int]int{}, map[int]int{}
			for i := range found {
				got := r.root(found[i])
				if other, seen := forth[truth[i]]; seen && other != got {
					t.Fatalf("seed %d, order %v: the rules split profile %d", seed, order, truth[i])
				}
				if other, seen := back[got]; seen && other != truth[i] {
					t.Fatalf("seed %d, order %v: the rules join profiles %d and %d", seed, order, other, truth[i])
				}
				forth[truth[i]], back[got] = got, truth[i]
			}
			if len(forth) != p.Profiles {
				t.Fatalf("seed %d, order %v: %d profiles have events, the population counts %d", seed, order, len(forth), p.Profiles)
			}
		}
	}
}

// sighting is an event as the rules see it: its identifiers, highest priority first.
type sighting struct {
	profile     int
	identifiers []string
}

// streams are the events of each touchpoint in the order that they are sent in.
func (p *Population) streams() [4][]sighting {
	var out [4][]sighting
	for i, trails := range [][]Trail{p.Web, p.App} {
		for _, trail := range trails {
			for _, session := range trail.Sessions {
				for _, e := range session.Events {
					out[i] = append(out[i], sighting{e.Profile, identifiers(e)})
				}
			}
		}
	}
	for _, c := range p.Customers {
		out[2] = append(out[2], sighting{c.Profile, []string{"u:" + c.UserID, "e:" + strings.ToLower(c.Email)}})
	}
	for _, ticket := range p.Tickets {
		out[3] = append(out[3], sighting{ticket.Profile, []string{"e:" + strings.ToLower(ticket.Email)}})
	}
	return out
}

func identifiers(e Event) []string {
	var out []string
	if e.UserID != "" {
		out = append(out, "u:"+e.UserID)
	}
	if email, ok := e.Traits["email"].(string); ok {
		out = append(out, "e:"+strings.ToLower(email))
	}
	for _, id := range []string{e.AnonymousID, e.PreviousID} {
		if id != "" {
			out = append(out, "a:"+id)
		}
	}
	return out
}

// rules is the naive reading of "userId is unique; when an event would break that, its lowest identifier is left out".
type rules struct {
	owner  map[string]int
	user   map[int]string
	parent []int
}

func (r *rules) root(n int) int {
	for r.parent[n] != n {
		n = r.parent[n]
	}
	return n
}

func (r *rules) resolve(ids []string) int {
	if r.owner == nil {
		r.owner, r.user = map[string]int{}, map[int]string{}
	}
	for ; ; ids = ids[:len(ids)-1] {
		users, touched := map[string]bool{}, []int{}
		for _, id := range ids {
			if strings.HasPrefix(id, "u:") {
				users[id] = true
			}
			if n, known := r.owner[id]; known {
				n = r.root(n)
				touched = append(touched, n)
				if user := r.user[n]; user != "" {
					users[user] = true
				}
			}
		}
		if len(users) > 1 {
			continue
		}
		n := len(r.parent)
		r.parent = append(r.parent, n)
		for _, other := range touched {
			r.parent[other] = n
		}
		for user := range users {
			r.user[n] = user
		}
		for _, id := range ids {
			r.owner[id] = n
		}
		return n
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, shorter := range permutations(n - 1) {
		for at := range n {
			out = append(out, slices.Insert(slices.Clone(shorter), at, n-1))
		}
	}
	return out
}

// TestHistoryIsPossible checks what any shop's history has in common.
func TestHistoryIsPossible(t *testing.T) {
	p := generate(t, 1, 2000)
	latest := p.Config.Clock.Add(-time.Hour)
	ids := map[string]bool{}
	shared, moved, old, aliases := 0, 0, 0, 0
	for _, trails := range [][]Trail{p.Web, p.App} {
		for _, trail := range trails {
			people := map[string]bool{}
			for _, session := range trail.Sessions {
				for i, e := range session.Events {
					if ids[e.MessageID] {
						t.Fatalf("message id %s is used twice", e.MessageID)
					}
					ids[e.MessageID] = true
					if e.Time.After(latest) {
						t.Fatalf("%s happened at %s, after the shop's last hour", e.MessageID, e.Time)
					}
					if i > 0 && e.Time.Before(session.Events[i-1].Time) {
						t.Fatalf("%s happened before its predecessor", e.MessageID)
					}
					if len(identifiers(e)) == 0 {
						t.Fatalf("%s names nobody", e.MessageID)
					}
					if e.Profile < len(p.Customers) && e.Time.Before(p.Customers[e.Profile].SignedUp) {
						t.Fatalf("%s happened before its customer signed up", e.MessageID)
					}
					if age := p.Config.Clock.Sub(e.Time); age > 365*24*time.Hour {
						old++
					}
					if e.Type == TypeAlias {
						aliases++
					}
					if e.UserID != "" && e.AnonymousID != "" {
						people[e.UserID] = true
					}
				}
			}
			if len(people) > 1 {
				shared++
			}
		}
	}
	for _, c := range p.Customers {
		if strings.HasPrefix(c.Email, "new.") {
			moved++
		}
	}
	for name, count := range map[string]int{"shared devices": shared, "e-mail changes": moved, "old events": old, "aliases": aliases} {
		if count < 20 {
			t.Errorf("only %d %s: the demo would not show them", count, name)
		}
	}
	t.Logf("%d customers, %d profiles, %d sdk events, %d tickets, %d shared devices, %d e-mail changes, %d old events, %d aliases",
		len(p.Customers), p.Profiles, len(ids), len(p.Tickets), shared, moved, old, aliases)
}

// TestShowcase checks that the person whom the demo shows is known from every side.
func TestShowcase(t *testing.T) {
	for seed := range uint64(20) {
		p := generate(t, seed, 10)
		emails, anonymous := map[string]bool{}, map[string]bool{}
		touchpoints := map[string]bool{}
		for touchpoint, trails := range map[string][]Trail{Web: p.Web, App: p.App} {
			for _, trail := range trails {
				for _, session := range trail.Sessions {
					for _, e := range session.Events {
						if e.Profile != 0 {
							continue
						}
						touchpoints[touchpoint] = true
						if email, ok := e.Traits["email"].(string); ok {
							emails[email] = true
						}
						if e.AnonymousID != "" {
							anonymous[e.AnonymousID] = true
						}
					}
				}
			}
		}
		for _, ticket := range p.Tickets {
			if ticket.Profile == 0 {
				touchpoints[Support] = true
			}
		}
		if len(touchpoints) != 3 || len(emails) != 2 || len(anonymous) < 2 {
			t.Errorf("seed %d: seen at %v, %d addresses, %d devices; want web, app and support, 2 addresses, 2 devices", seed, touchpoints, len(emails), len(anonymous))
		}
	}
}
