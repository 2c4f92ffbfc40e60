// Package population makes up the customers of a small shop and everything they do: on the website, in the app, in the
// CRM and at the support desk. The same seed gives the same shop on every machine.
//
// It also knows the truth. Each event carries the profile that it belongs to under the identity rules that Kohort
// documents as its defaults (userId, unique; then email; then anonymousId), and it does so by construction: whoever makes
// an event up knows who did it. Nothing here looks identifiers up, and nothing is shared with the product's code, so a
// mistake in one does not hide a mistake in the other.
package population

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Touchpoints, named as the demo's Sources are.
const (
	Web     = "web"
	App     = "app"
	CRM     = "crm"
	Support = "support"
)

// Config chooses a population.
type Config struct {
	// Seed decides everything that looks random.
	Seed uint64
	// Customers who have an account. Visitors, guests and shared devices come on top.
	Customers int
	// Clock is the moment that the shop's history ends. Nothing happened in the three hours before it.
	Clock time.Time
}

// Population is a shop's customers and their history.
type Population struct {
	Config Config
	// Customers with an account, in the order of their numbers. The first one is the showcase: a person met at all
	// four touchpoints, before and after login, under two e-mail addresses.
	Customers []Customer
	// Web and App hold one trail per household. Trails are independent of each other; a trail is sent in order.
	Web, App []Trail
	// Tickets of the support desk, of customers and of strangers.
	Tickets []Ticket
	// Profiles is how many profiles the identity rules make of all this. Profile numbers run from 0 to Profiles-1;
	// those below len(Customers) are the customers', in the same order.
	Profiles int
}

// Customer is a row of the CRM.
type Customer struct {
	Profile  int
	UserID   string
	Name     string
	Email    string // the present one
	Phone    string
	Country  string // ISO 3166-1 alpha-2
	Plan     string // free, plus or pro
	SignedUp time.Time
	Updated  time.Time // when the row last changed
}

// Ticket is a line of the support desk's export.
type Ticket struct {
	Profile  int       `json:"-"`
	ID       string    `json:"ticket_id"`
	Email    string    `json:"requester_email"` // as the person typed it
	Subject  string    `json:"subject"`
	Priority string    `json:"priority"` // low, normal or high
	Opened   time.Time `json:"opened_at"`
}

// Trail is what one household did at one touchpoint, oldest first.
type Trail struct {
	Sessions []Session
}

// Session is what an SDK sends in one request.
type Session struct {
	Events []Event
}

// Types of events, as Segment's tracking API names them.
const (
	TypeTrack    = "track"
	TypeIdentify = "identify"
	TypePage     = "page"
	TypeScreen   = "screen"
	TypeAlias    = "alias"
)

// Event is one call of an SDK.
type Event struct {
	Profile     int // whom the identity rules give it to
	Type        string
	Name        string // of a track, page or screen
	MessageID   string
	Time        time.Time
	UserID      string
	AnonymousID string
	PreviousID  string         // of an alias
	Traits      map[string]any // of an identify
	Properties  map[string]any // of a track, page or screen
}

// Generate makes a population up.
func Generate(c Config) (*Population, error) {
	if c.Customers < 1 || c.Customers > 1_000_000 {
		return nil, fmt.Errorf("customers is %d: choose 1 to 1,000,000", c.Customers)
	}
	if c.Clock.IsZero() {
		return nil, errors.New("clock is not set: give the moment that the shop's history ends")
	}
	c.Clock = c.Clock.UTC().Truncate(time.Second)
	p := &Population{Config: c, Profiles: c.Customers}
	for first, number := 0, 0; first < c.Customers; number++ {
		h := newHousehold(p, number, first)
		h.live()
		first += len(h.people)
	}
	strangers := c.Customers * 3 / 4
	for number := range strangers {
		visit(p, number)
	}
	for number := range max(1, c.Customers/20) {
		complain(p, number)
	}
	return p, nil
}

// newProfile counts one more profile and returns its number.
func (p *Population) newProfile() int {
	p.Profiles++
	return p.Profiles - 1
}

// Kinds of random streams, so that one more customer changes nobody else's life.
const (
	streamHousehold = iota + 1
	streamVisitor
	streamGuest
)

// random is a source of its own for one member of the population.
func (c Config) random(stream, number int) *rand.Rand {
	return rand.New(rand.NewPCG(c.Seed, uint64(stream)<<32|uint64(number)))
}

// ago is the moment so many days before the clock, moved away from the ages that audiences and retention ask about. An
// answer to "within 90d" is then the same today and on the two days that follow.
func (c Config) ago(days float64) time.Time {
	const margin = 2.5
	for _, edge := range []float64{60, 90, 365} {
		if days > edge-margin && days < edge+margin {
			days = edge + margin + (days - edge + margin)
		}
	}
	return c.Clock.Add(-time.Duration(days * 24 * float64(time.Hour))).Truncate(time.Second)
}

// youngest is the least age of a session in days: three hours, and a session lasts less than two.
const youngest = 0.125

// oldest is the age of the oldest account in days.
const oldest = 600
