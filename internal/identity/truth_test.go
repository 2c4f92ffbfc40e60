package identity

import (
	"fmt"
	"math/rand/v2"
	"time"

	"kohort.dev/kohort/internal/event"
)

// truth makes events of people who are known, with what breaks identity in practice: half of the people never say
// who they are, and those who do have some 30 events.
type truth struct {
	random *rand.Rand
	now    time.Time
	events []event.Event
	owner  []int // of each event: the person, or -1 for machines and test users, whom no profile can be right or wrong about
	device int
}

// shopper is a person with a browser or two.
type shopper struct {
	person        int
	user, email   string
	phone         string
	devices       []string
	knows, shared bool
}

// Shares of people, in percent.
const (
	registered   = 50 // have an account
	twoDevices   = 30
	sharesDevice = 2 // use the browser of another person of the family
	familyEmail  = 2 // give the e-mail address of somebody else
	oldPhone     = 1 // got a number that was another's a year ago
	changesEmail = 5
	churns       = 10 // delete their cookies five times a month
)

// newTruth makes about n events over a year.
func newTruth(n int) *truth {
	g := &truth{random: rand.New(rand.NewPCG(7, 11)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var before *shopper
	for person := 0; len(g.events) < n; person++ {
		before = g.shop(person, before)
		if person%500 == 0 {
			g.noise()
		}
	}
	return g
}

func (g *truth) chance(percent int) bool { return g.random.IntN(100) < percent }

func (g *truth) browser() string {
	g.device++
	return fmt.Sprintf("dev-%08d", g.device)
}

// shop is what one person does, somewhere in the year. People are interleaved enough for identity, which knows no
// time but that of windows.
func (g *truth) shop(person int, before *shopper) *shopper {
	s := &shopper{person: person, devices: []string{g.browser()}, knows: g.chance(registered)}
	if s.knows && g.chance(twoDevices) { // who never says who they are is as many visitors as browsers
		s.devices = append(s.devices, g.browser())
	}
	at := g.now.AddDate(0, 0, g.random.IntN(300))
	if s.knows {
		s.user, s.email = fmt.Sprintf("user-%d", person), fmt.Sprintf("Person%d@example.org", person)
		s.phone = fmt.Sprintf("+4930%07d", 1_000_000+person)
		if before != nil && before.knows {
			switch {
			case g.chance(sharesDevice):
				s.devices[0], s.shared = before.devices[0], true
			case g.chance(familyEmail):
				s.email = before.email
			case g.chance(oldPhone):
				s.phone, at = before.phone, at.AddDate(1, 0, 0)
			}
		}
	}
	visits := 3 + g.random.IntN(6)
	churning := s.knows && g.chance(churns)
	for visit := range visits {
		device := &s.devices[visit%len(s.devices)]
		if churning && visit > 0 {
			*device = g.browser()
		}
		at = at.Add(time.Duration(1+g.random.IntN(120)) * time.Hour)
		g.visit(s, *device, at, visit)
	}
	return s
}

// visit is some anonymous pages, a login of those who have an account, and pages after it. Nobody resets the SDK at
// logout, so a shared browser keeps its anonymousId.
func (g *truth) visit(s *shopper, device string, at time.Time, visit int) {
	pages := 1 + g.random.IntN(4)
	if s.shared && visit%2 == 0 {
		pages = g.random.IntN(2) // who shares a browser is mostly still logged in
	}
	for range pages {
		g.add(s.person, at, id(event.AnonymousID, device))
	}
	if !s.knows {
		return
	}
	if g.chance(changesEmail) {
		s.email = fmt.Sprintf("new%d.%d@example.org", s.person, visit)
	}
	g.add(s.person, at, id(event.UserID, s.user), id(event.AnonymousID, device))
	e := &g.events[len(g.events)-1]
	e.Traits = []event.Trait{{Name: "email", Value: `"` + s.email + `"`}, {Name: "phone", Value: `"` + s.phone + `"`}}
	for range 1 + g.random.IntN(6) {
		g.add(s.person, at, id(event.UserID, s.user), id(event.AnonymousID, device))
	}
	if g.chance(30) { // the shop's own systems know the account alone
		g.add(s.person, at, id(event.UserID, s.user))
	}
}

// noise is what testers and machines send: one user id from many browsers, ids that are no ids, cookies for one request.
func (g *truth) noise() {
	at := g.now.AddDate(0, 0, g.random.IntN(365))
	for range 5 {
		g.add(-1, at, id(event.UserID, "qa-test"), id(event.AnonymousID, g.browser()))
		g.add(-1, at, id(event.UserID, "undefined"), id(event.AnonymousID, g.browser()))
		g.add(-1, at, id(event.AnonymousID, g.browser()))
		g.add(-1, at, id(event.AnonymousID, "00000000-0000-0000-0000-000000000000"))
	}
}

func (g *truth) add(person int, at time.Time, ids ...event.Identifier) {
	g.events = append(g.events, event.Event{Identifiers: ids, Occurred: at, Received: at})
	g.owner = append(g.owner, person)
}

// newRecords makes n records of people as files hold them, without any id: three of each person, with an e-mail address
// or a telephone number or neither, written in three ways.
func newRecords(n int) *truth {
	g := &truth{random: rand.New(rand.NewPCG(3, 5)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	first := []string{"José", "Ada", "Jürgen", "Zoë", "Noor", "Ivan", "Mei", "Fatima", "Lars", "Ana", "Tom", "Ida"}
	for person := 0; len(g.events) < n; person++ {
		name := first[g.random.IntN(len(first))]
		last := fmt.Sprintf("Müller-%c%c%c", 'A'+g.random.IntN(26), 'a'+g.random.IntN(26), 'a'+g.random.IntN(26))
		born := g.now.AddDate(-18-g.random.IntN(70), 0, -g.random.IntN(365)).Format(time.DateOnly)
		for k := range 3 {
			given, family := name, last
			if k == 1 {
				given, family = " "+upper(name), upper(last)
			}
			g.add(person, g.now.AddDate(0, 0, k))
			e := &g.events[len(g.events)-1]
			e.Traits = []event.Trait{{Name: "firstName", Value: `"` + given + `"`}, {Name: "lastName", Value: `"` + family + `"`}}
			if g.chance(99) {
				e.Traits = append(e.Traits, event.Trait{Name: "birthDate", Value: `"` + born + `"`})
			}
			if k != 1 || g.chance(50) {
				e.Traits = append(e.Traits, event.Trait{Name: "email", Value: fmt.Sprintf(`"P%d@example.org"`, person)})
			}
			if k != 2 || g.chance(50) {
				e.Traits = append(e.Traits, event.Trait{Name: "phone", Value: fmt.Sprintf(`"030 %d"`, 1_000_000+person)})
			}
		}
	}
	return g
}
