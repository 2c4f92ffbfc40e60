package population

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind of household: who uses which device, and what that does to identifiers.
type kind int

const (
	// alone : one person, whose devices nobody else uses.
	alone kind = iota
	// sharedWithLogout : two people and one browser. Each logs out when done, so the SDK forgets who it was and starts
	// with a new anonymousId.
	sharedWithLogout
	// sharedWithoutLogout : two people and one browser, and nobody logs out: the second login comes with the first one's
	// anonymousId. userId is unique, so the two stay two, and the anonymousId stays with whoever came first.
	sharedWithoutLogout
	// sharedAddress : two people with a browser each and one e-mail address. userId is unique, so they stay two.
	sharedAddress
)

// household is one or two people whose devices or addresses have to do with each other.
type household struct {
	p      *Population
	random *rand.Rand
	number int
	kind   kind
	people []*person
	calls  int // events made so far, for message ids
	ids    int // anonymousIds made so far
}

// newHousehold draws who lives here. first is the number of its first customer.
func newHousehold(p *Population, number, first int) *household {
	h := &household{p: p, random: p.Config.random(streamHousehold, number), number: number}
	switch roll := h.random.Float64(); {
	case number == 0 || first+1 >= p.Config.Customers || roll < 0.70: // the showcase lives alone
		h.kind = alone
	case roll < 0.84:
		h.kind = sharedWithLogout
	case roll < 0.94:
		h.kind = sharedWithoutLogout
	default:
		h.kind = sharedAddress
	}
	size := 2
	if h.kind == alone {
		size = 1
	}
	for i := range size {
		h.people = append(h.people, newPerson(h.random, p.Config, first+i))
	}
	if h.kind == sharedAddress {
		for _, someone := range h.people {
			someone.Email = h.people[0].Email
			someone.emails = []addressChange{{email: someone.Email}}
		}
	}
	return h
}

// live makes up everything that the household does and adds it to the population.
func (h *household) live() {
	showcase := h.number == 0
	web := make([][]time.Time, len(h.people))
	app := make([][]time.Time, len(h.people))
	for i, someone := range h.people {
		if showcase {
			someone.Plan = "pro"
			someone.habit = habit{sessions: [2]int{6, 6}, newest: youngest, span: 80, orderOdds: 0.8}
		}
		if showcase || h.random.Float64() < 0.85 {
			web[i] = h.times(someone)
		}
		if showcase || h.random.Float64() < 0.45 {
			app[i] = h.times(someone)
		}
		h.signUp(someone, append(slices.Clone(web[i]), app[i]...))
		if changes := h.kind != sharedAddress && len(web[i]) >= 3 && h.random.Float64() < 0.15; changes || showcase {
			h.moveAddress(someone, web[i])
		}
	}
	if trail := h.webTrail(web); len(trail.Sessions) > 0 {
		h.p.Web = append(h.p.Web, trail)
	}
	if trail := h.appTrail(app); len(trail.Sessions) > 0 {
		h.p.App = append(h.p.App, trail)
	}
	for i, someone := range h.people {
		h.writeTickets(someone, web[i], showcase)
		h.p.Customers = append(h.p.Customers, someone.Customer)
	}
}

// times draws when somebody's sessions start, oldest first.
func (h *household) times(someone *person) []time.Time {
	times := make([]time.Time, between(h.random, someone.habit.sessions[0], someone.habit.sessions[1]))
	for i := range times {
		times[i] = h.p.Config.ago(someone.habit.newest + h.random.Float64()*someone.habit.span)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// signUp puts the account's beginning before the first session, so that nobody shops before they exist.
func (h *household) signUp(someone *person, sessions []time.Time) {
	age := 20 + h.random.Float64()*(oldest-20)
	for _, at := range sessions {
		age = max(age, h.p.Config.Clock.Sub(at).Hours()/24+1)
	}
	someone.SignedUp = h.p.Config.ago(age)
	someone.Updated = someone.SignedUp
}

// moveAddress lets somebody change their e-mail address at one of their later web sessions; the CRM learns of it five
// minutes after.
func (h *household) moveAddress(someone *person, sessions []time.Time) {
	session := between(h.random, 1, len(sessions)-1)
	someone.Email = "new." + someone.Email
	someone.emails = append(someone.emails, addressChange{session: session, email: someone.Email})
	someone.Updated = sessions[session].Add(5 * time.Minute)
}

// anonymousID makes the id that an SDK gives to a browser or an installed app.
func (h *household) anonymousID(touchpoint string) string {
	h.ids++
	return fmt.Sprintf("%s-device-%d-%d-%d", touchpoint, h.p.Config.Seed, h.number, h.ids)
}

// messageID makes the id that an SDK gives to a call.
func (h *household) messageID(touchpoint string) string {
	h.calls++
	return fmt.Sprintf("%s-%d-%d-%d", touchpoint, h.p.Config.Seed, h.number, h.calls)
}

// writeTickets lets some people ask the support desk for help. They write under an address that they have used at the
// website, or that the CRM has; two people with one address do not write, for nobody could say who it was.
func (h *household) writeTickets(someone *person, web []time.Time, showcase bool) {
	if h.kind == sharedAddress || !showcase && h.random.Float64() > 0.25 {
		return
	}
	for n := range between(h.random, 1, 2) {
		opened := h.p.Config.ago(youngest + h.random.Float64()*min(120, h.p.Config.Clock.Sub(someone.SignedUp).Hours()/24-youngest))
		session := 0
		for i, at := range web {
			if !opened.Before(at) {
				session = i
			}
		}
		email := someone.emailAt(session)
		if showcase {
			email = someone.emailAt(0) // the old address, which only the website connects with the account
		}
		h.p.Tickets = append(h.p.Tickets, newTicket(h.random, fmt.Sprintf("%s-%d", someone.UserID, n+1), someone.Profile, email, opened))
	}
}
