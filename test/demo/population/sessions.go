package population

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// planned is a session before its events are made up.
type planned struct {
	someone *person
	number  int // of this person's sessions
	start   time.Time
}

// inOrder puts everybody's sessions of a touchpoint into one line.
func (h *household) inOrder(times [][]time.Time) []planned {
	var all []planned
	for i, someone := range h.people {
		for number, start := range times[i] {
			all = append(all, planned{someone: someone, number: number, start: start})
		}
	}
	slices.SortStableFunc(all, func(a, b planned) int {
		return cmp.Or(a.start.Compare(b.start), cmp.Compare(a.someone.Profile, b.someone.Profile))
	})
	return all
}

// browser is what the website's SDK remembers.
type browser struct {
	anonymousID string
	user        *person // logged in, or nil
}

// webTrail makes up the household's visits to the website.
func (h *household) webTrail(times [][]time.Time) Trail {
	var trail Trail
	shared := &browser{}
	own := map[*person]*browser{}
	for _, next := range h.inOrder(times) {
		b := shared
		if h.kind == alone || h.kind == sharedAddress {
			if own[next.someone] == nil {
				own[next.someone] = &browser{}
			}
			b = own[next.someone]
		}
		trail.Sessions = append(trail.Sessions, h.webSession(b, next))
		if h.kind == sharedWithLogout {
			*b = browser{} // the SDK's reset()
		}
	}
	if h.kind == alone && h.number > 0 && h.random.Float64() < 0.1 && len(trail.Sessions) > 0 {
		trail.Sessions = append(trail.Sessions, h.strangeDevice())
	}
	return trail
}

// webSession is one visit: some pages without a name when the browser is new, a login where one is needed, and shopping.
func (h *household) webSession(b *browser, next planned) Session {
	s := h.script(Web, next)
	if b.anonymousID == "" {
		b.anonymousID = h.anonymousID(Web)
		s.anonymousID = b.anonymousID
		for range between(h.random, 1, 3) {
			s.look(TypePage, "Home")
		}
	}
	s.anonymousID, s.userID = b.anonymousID, next.someone.UserID
	moved := slices.ContainsFunc(next.someone.emails, func(c addressChange) bool { return c.session == next.number })
	if b.user != next.someone || moved {
		b.user = next.someone
		s.identify(map[string]any{"email": next.someone.emailAt(next.number), "name": next.someone.Name})
	}
	s.shop(TypePage)
	return Session{Events: s.events}
}

// strangeDevice is a visit of a customer on a device where they never log in: no rule can know them, so it is a profile
// of its own.
func (h *household) strangeDevice() Session {
	s := h.script(Web, planned{someone: h.people[0], start: h.p.Config.ago(youngest + h.random.Float64()*100)})
	s.profile = h.p.newProfile()
	s.anonymousID = h.anonymousID(Web)
	for range between(h.random, 1, 4) {
		s.look(TypePage, "Home")
	}
	return Session{Events: s.events}
}

// appTrail makes up the household's use of the app; everybody has a telephone of their own.
func (h *household) appTrail(times [][]time.Time) Trail {
	var trail Trail
	installed := map[*person]string{}
	old := h.random.Float64() < 0.15 // an old version, which sends alias in place of identify and forgets its anonymousId then
	for _, next := range h.inOrder(times) {
		s := h.script(App, next)
		id, known := installed[next.someone]
		if !known {
			id = h.anonymousID(App)
			installed[next.someone] = id
			s.anonymousID = id
			s.look(TypeScreen, "Welcome")
			if old {
				s.alias(next.someone.UserID, id)
			}
		}
		s.userID, s.anonymousID = next.someone.UserID, id
		if old {
			s.anonymousID = ""
		} else if !known {
			s.identify(map[string]any{"pushEnabled": h.random.Float64() < 0.6})
		}
		s.shop(TypeScreen)
		trail.Sessions = append(trail.Sessions, Session{Events: s.events})
	}
	return trail
}

// script writes the events of one session.
type script struct {
	h           *household
	touchpoint  string
	profile     int
	now         time.Time
	userID      string
	anonymousID string
	orderOdds   float64
	events      []Event
}

func (h *household) script(touchpoint string, next planned) *script {
	return &script{h: h, touchpoint: touchpoint, profile: next.someone.Profile, now: next.start, orderOdds: next.someone.habit.orderOdds}
}

// add completes an event and lets up to a minute and a half pass.
func (s *script) add(e Event) {
	e.Profile, e.Time, e.MessageID = s.profile, s.now, s.h.messageID(s.touchpoint)
	s.events = append(s.events, e)
	s.now = s.now.Add(time.Duration(between(s.h.random, 5, 90)) * time.Second)
}

func (s *script) look(kind, name string) {
	s.add(Event{Type: kind, Name: name, UserID: s.userID, AnonymousID: s.anonymousID, Properties: map[string]any{"path": "/" + name}})
}

func (s *script) identify(traits map[string]any) {
	s.add(Event{Type: TypeIdentify, UserID: s.userID, AnonymousID: s.anonymousID, Traits: traits})
}

func (s *script) alias(userID, previousID string) {
	s.add(Event{Type: TypeAlias, UserID: userID, PreviousID: previousID})
}

func (s *script) track(name string, properties map[string]any) {
	s.add(Event{Type: TypeTrack, Name: name, UserID: s.userID, AnonymousID: s.anonymousID, Properties: properties})
}

// shop looks at products, puts some into the cart and sometimes buys.
func (s *script) shop(view string) {
	r := s.h.random
	s.look(view, "Products")
	for range between(r, 1, 4) {
		price := math.Round((4+r.Float64()*90)*100) / 100
		product := map[string]any{"sku": fmt.Sprintf("SKU-%03d", r.IntN(200)), "category": pick(r, []string{"books", "garden", "games", "tools"}), "price": price}
		s.track("Product Viewed", product)
		if r.Float64() < 0.4 {
			s.track("Product Added", product)
		}
	}
	if r.Float64() < s.orderOdds {
		// One order in twenty costs 50 exactly: "over 50" must leave it out.
		total := math.Round((15+r.Float64()*140)*100) / 100
		if r.Float64() < 0.05 {
			total = 50
		}
		s.track("Order Completed", map[string]any{"orderId": fmt.Sprintf("O-%d-%d-%d", s.h.p.Config.Seed, s.h.number, s.h.calls), "total": total, "currency": "EUR"})
	}
}
