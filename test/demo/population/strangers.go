package population

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// visit makes up an anonymous visitor of the website. One in ten signs up for the newsletter: an e-mail address without
// an account, and some of those write to the support desk under it, which must not make a second profile.
func visit(p *Population, number int) {
	r := p.Config.random(streamVisitor, number)
	profile := p.newProfile()
	now := p.Config.ago(youngest + r.Float64()*200)
	id := fmt.Sprintf("web-visitor-%d-%d", p.Config.Seed, number)
	var session Session
	add := func(e Event) {
		e.Profile, e.AnonymousID, e.Time = profile, id, now
		e.MessageID = fmt.Sprintf("visit-%d-%d-%d", p.Config.Seed, number, len(session.Events)+1)
		session.Events = append(session.Events, e)
		now = now.Add(time.Duration(between(r, 5, 90)) * time.Second)
	}
	for range between(r, 1, 5) {
		add(Event{Type: TypePage, Name: "Home", Properties: map[string]any{"path": "/"}})
	}
	if r.Float64() < 0.1 {
		email := fmt.Sprintf("reader.%d.%d@example.org", p.Config.Seed, number)
		add(Event{Type: TypeIdentify, Traits: map[string]any{"email": email, "newsletter": true}})
		if r.Float64() < 0.5 {
			p.Tickets = append(p.Tickets, newTicket(r, fmt.Sprintf("V-%d-%d", p.Config.Seed, number), profile, email, now.Add(time.Hour)))
		}
	}
	p.Web = append(p.Web, Trail{Sessions: []Session{session}})
}

// complain makes up somebody whom only the support desk knows.
func complain(p *Population, number int) {
	r := p.Config.random(streamGuest, number)
	email := fmt.Sprintf("guest.%d.%d@example.net", p.Config.Seed, number)
	opened := p.Config.ago(youngest + r.Float64()*500)
	p.Tickets = append(p.Tickets, newTicket(r, fmt.Sprintf("G-%d-%d", p.Config.Seed, number), p.newProfile(), email, opened))
}

// newTicket makes up a ticket. A third of all people write their address with capital letters and mean the same one.
func newTicket(r *rand.Rand, id string, profile int, email string, opened time.Time) Ticket {
	if r.Float64() < 0.33 {
		email = strings.ToUpper(email[:1]) + email[1:]
		email = strings.Replace(email, "@example", "@Example", 1)
	}
	return Ticket{
		Profile:  profile,
		ID:       "T-" + id,
		Email:    email,
		Subject:  pick(r, []string{"Where is my parcel?", "Wrong size", "Invoice", "How do I return this?"}),
		Priority: pick(r, []string{"low", "normal", "normal", "high"}),
		Opened:   opened,
	}
}
