// Package truth says what Kohort must find in the demo's shop: how many profiles and events, who is in which audience,
// what retention deletes, and everything that is known of one customer.
//
// The rules are written here a second time, in Go, beside the manifests that say the same in YAML. None of the product's
// code is used: two independent readings that agree are worth more than one.
package truth

import (
	"maps"
	"slices"
	"strings"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

// Names of the demo's audiences, as in the manifests.
const (
	VIP     = "vip"
	Lapsed  = "lapsed"
	Winback = "winback"
)

// Truth is what the demo must show.
type Truth struct {
	// Profiles that the identity rules make.
	Profiles int `json:"profiles"`
	// Events by touchpoint, with nothing deleted yet. A CRM row is one event.
	Events map[string]int `json:"events"`
	// Expired is how many of them the demo's retention policy has to have deleted.
	Expired map[string]int `json:"expired"`
	// Audiences are the members' userIds, sorted.
	Audiences map[string][]string `json:"audiences"`
	// Showcase is one customer as seen from all touchpoints.
	Showcase Showcase `json:"showcase"`
}

// Showcase is what is known of one customer.
type Showcase struct {
	UserID string `json:"userId"`
	// Identifiers by type, sorted.
	Identifiers map[string][]string `json:"identifiers"`
	// Traits are the latest values.
	Traits map[string]any `json:"traits"`
	// Events by touchpoint, with nothing deleted yet.
	Events map[string]int `json:"events"`
}

// Kept is how many events a touchpoint has left once retention is enforced.
func (t Truth) Kept(touchpoint string) int { return t.Events[touchpoint] - t.Expired[touchpoint] }

// Sum adds up the events of all touchpoints.
func Sum(events map[string]int) int {
	sum := 0
	for _, n := range events {
		sum += n
	}
	return sum
}

// day is 24 hours, as in Kohort's durations.
const day = 24 * time.Hour

// Of computes the truth of a population at a moment, which must not be before the population's clock.
func Of(p *population.Population, now time.Time) Truth {
	facts := factsOf(p)
	t := Truth{Profiles: p.Profiles, Events: map[string]int{}, Expired: map[string]int{}, Audiences: map[string][]string{VIP: {}, Lapsed: {}, Winback: {}}}
	for _, f := range facts {
		t.Events[f.touchpoint]++
		if expired(f.time, now) {
			t.Expired[f.touchpoint]++
		}
	}
	byProfile := make([][]fact, p.Profiles)
	for _, f := range facts {
		byProfile[f.profile] = append(byProfile[f.profile], f)
	}
	for _, c := range p.Customers {
		history := byProfile[c.Profile]
		if buys(history, now, vipOrders) {
			t.Audiences[VIP] = append(t.Audiences[VIP], c.UserID)
		}
		if isLapsed(c, history, now) {
			t.Audiences[Lapsed] = append(t.Audiences[Lapsed], c.UserID)
			if !isUnhappy(history, now) {
				t.Audiences[Winback] = append(t.Audiences[Winback], c.UserID)
			}
		}
	}
	for _, members := range t.Audiences {
		slices.Sort(members)
	}
	t.Showcase = showcase(p.Customers[0], byProfile[p.Customers[0].Profile])
	return t
}

// vipOrders is how many good orders make a vip.
const vipOrders = 3

// Buyers are the userIds, sorted, of those who placed at least so many orders over 50 in the last 90 days: the audience vip
// with another minimum.
func Buyers(p *population.Population, now time.Time, minimum int) []string {
	byProfile := make([][]fact, p.Profiles)
	for _, f := range factsOf(p) {
		byProfile[f.profile] = append(byProfile[f.profile], f)
	}
	var buyers []string
	for _, c := range p.Customers {
		if buys(byProfile[c.Profile], now, minimum) {
			buyers = append(buyers, c.UserID)
		}
	}
	slices.Sort(buyers)
	return buyers
}

// buys : at least so many orders over 50 in the last 90 days.
func buys(history []fact, now time.Time, minimum int) bool {
	orders := 0
	for _, f := range history {
		if total, ok := f.properties["total"].(float64); ok && f.name == "Order Completed" && total > 50 && now.Sub(f.time) <= 90*day {
			orders++
		}
	}
	return orders >= minimum
}

// isLapsed : on the pro plan, and no order in the last 60 days.
func isLapsed(c population.Customer, history []fact, now time.Time) bool {
	return c.Plan == "pro" && !slices.ContainsFunc(history, func(f fact) bool {
		return f.name == "Order Completed" && now.Sub(f.time) <= 60*day
	})
}

// isUnhappy : a ticket of high priority in the last 90 days.
func isUnhappy(history []fact, now time.Time) bool {
	return slices.ContainsFunc(history, func(f fact) bool {
		return f.name == "Ticket Opened" && f.properties["priority"] == "high" && now.Sub(f.time) <= 90*day
	})
}

// expired : more than 365 days old at the newest UTC midnight that has passed, for a row goes at the first midnight
// after it has reached its age.
func expired(at, now time.Time) bool {
	midnight := now.UTC().Truncate(day)
	return !at.Add(365 * day).After(midnight)
}

// fact is one event of any touchpoint, under the name that the warehouse stores it with.
type fact struct {
	profile    int
	touchpoint string
	name       string
	time       time.Time
	properties map[string]any
	traits     map[string]any
	ids        map[string]string // by type
}

// factsOf lists the events of all touchpoints.
func factsOf(p *population.Population) []fact {
	var facts []fact
	for touchpoint, trails := range map[string][]population.Trail{population.Web: p.Web, population.App: p.App} {
		for _, trail := range trails {
			for _, session := range trail.Sessions {
				for _, e := range session.Events {
					facts = append(facts, factOf(touchpoint, e))
				}
			}
		}
	}
	for _, c := range p.Customers {
		facts = append(facts, fact{
			profile: c.Profile, touchpoint: population.CRM, name: "Identify", time: c.Updated,
			traits: map[string]any{"email": c.Email, "name": c.Name, "phone": c.Phone, "country": c.Country, "plan": c.Plan},
			ids:    map[string]string{"userId": c.UserID, "email": c.Email},
		})
	}
	for _, ticket := range p.Tickets {
		facts = append(facts, fact{
			profile: ticket.Profile, touchpoint: population.Support, name: "Ticket Opened", time: ticket.Opened,
			properties: map[string]any{"priority": ticket.Priority},
			ids:        map[string]string{"email": strings.ToLower(ticket.Email)},
		})
	}
	return facts
}

func factOf(touchpoint string, e population.Event) fact {
	name := map[string]string{
		population.TypeTrack: e.Name, population.TypePage: "Page Viewed", population.TypeScreen: "Screen Viewed",
		population.TypeIdentify: "Identify", population.TypeAlias: "Alias",
	}[e.Type]
	ids := map[string]string{}
	for kind, value := range map[string]string{"userId": e.UserID, "anonymousId": e.AnonymousID + e.PreviousID} {
		if value != "" {
			ids[kind] = value
		}
	}
	if email, ok := e.Traits["email"].(string); ok {
		ids["email"] = email
	}
	return fact{profile: e.Profile, touchpoint: touchpoint, name: name, time: e.Time, properties: e.Properties, traits: e.Traits, ids: ids}
}

// showcase collects what is known of a customer; the latest value of a trait counts.
func showcase(c population.Customer, history []fact) Showcase {
	s := Showcase{UserID: c.UserID, Identifiers: map[string][]string{}, Traits: map[string]any{}, Events: map[string]int{}}
	slices.SortStableFunc(history, func(a, b fact) int { return a.time.Compare(b.time) })
	ids := map[string]map[string]bool{}
	for _, f := range history {
		s.Events[f.touchpoint]++
		maps.Copy(s.Traits, f.traits)
		for kind, value := range f.ids {
			if ids[kind] == nil {
				ids[kind] = map[string]bool{}
			}
			ids[kind][value] = true
		}
	}
	for kind, values := range ids {
		s.Identifiers[kind] = slices.Sorted(maps.Keys(values))
	}
	return s
}
