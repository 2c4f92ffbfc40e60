package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse"
)

const (
	// maxIdentifier is the longest value of an identifier that is looked up, in bytes.
	maxIdentifier = 1024
	// defaultEvents and maxEvents bound the events in an answer.
	defaultEvents, maxEvents = 20, 1000
	// maxEventName is the longest name of an event that is asked for, in bytes.
	maxEventName = 1024
)

// Profile is the answer to GET /v1/profiles/{type}:{value}.
type Profile struct {
	*profile.Profile
	// Touchpoints are the sources that the customer was seen at, most events first.
	Touchpoints []Touchpoint `json:"touchpoints"`
}

// Touchpoint is one source and what it has told about a customer.
type Touchpoint struct {
	Source string    `json:"source"`
	Events int64     `json:"events"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// profile answers GET /v1/profiles/{type}:{value}?events=20.
func (a *api) profile(ctx context.Context, r *http.Request) (any, error) {
	events, err := howMany(r.URL.Query(), "events", 0)
	if err != nil {
		return nil, err
	}
	return a.lookUp(ctx, r, events)
}

// traits answers GET /v1/profiles/{type}:{value}/traits.
func (a *api) traits(ctx context.Context, r *http.Request) (any, error) {
	_, p, err := a.read(ctx, r, profile.Want{Traits: true})
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": p.ID, "traits": p.Traits}, nil
}

// identifiers answers GET /v1/profiles/{type}:{value}/identifiers.
func (a *api) identifiers(ctx context.Context, r *http.Request) (any, error) {
	_, p, err := a.read(ctx, r, profile.Want{Identifiers: true})
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": p.ID, "identifiers": p.Identifiers}, nil
}

// audiences answers GET /v1/profiles/{type}:{value}/audiences.
func (a *api) audiences(ctx context.Context, r *http.Request) (any, error) {
	_, p, err := a.read(ctx, r, profile.Want{Audiences: true})
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": p.ID, "audiences": p.Audiences}, nil
}

// eventsAnswer is one page.
type eventsAnswer struct {
	ID     string          `json:"id"`
	Events []profile.Event `json:"events"`
	// Next is the cursor of the page after this one; the last page has none.
	Next string `json:"next,omitempty"`
}

// events answers GET /v1/profiles/{type}:{value}/events?limit=20&event=NAME&since=TIME&cursor=NEXT.
func (a *api) events(ctx context.Context, r *http.Request) (any, error) {
	page, err := eventPage(r.URL.Query())
	if err != nil {
		return nil, err
	}
	limit := page.Limit
	page.Limit++ // one more tells whether there is another page
	_, p, err := a.read(ctx, r, profile.Want{Events: page})
	if err != nil {
		return nil, err
	}
	out := eventsAnswer{ID: p.ID, Events: p.Events}
	if len(out.Events) > limit {
		out.Events = out.Events[:limit]
		out.Next = profile.At(out.Events[limit-1]).String()
	}
	return out, nil
}

// eventPage reads which events are asked for.
func eventPage(query url.Values) (profile.EventPage, error) {
	limit, err := howMany(query, "limit", 1)
	if err != nil {
		return profile.EventPage{}, err
	}
	page := profile.EventPage{Limit: limit, Name: query.Get("event")}
	if len(page.Name) > maxEventName {
		return page, refusal{http.StatusBadRequest, "BadEvent", "event is the name of an event, at most 1024 bytes"}
	}
	if text := query.Get("since"); text != "" {
		if page.Since, err = time.Parse(time.RFC3339, text); err != nil || page.Since.Year() < 1970 {
			return page, refusal{http.StatusBadRequest, "BadSince", "since is a time such as 2026-11-01T08:00:00Z, from 1970 on"}
		}
	}
	if text := query.Get("cursor"); text != "" {
		if page.After, err = profile.ParseCursor(text); err != nil {
			return page, errBadCursor
		}
	}
	return page, nil
}

// howMany reads how many rows are asked for.
func howMany(query url.Values, name string, least int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return defaultEvents, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > maxEvents {
		return 0, refusal{http.StatusBadRequest, "BadLimit", fmt.Sprintf("%s is a number from %d to %d", name, least, maxEvents)}
	}
	return n, nil
}

// read finds the profile that the path names, by an identifier as a person writes it, and reads parts of it.
func (a *api) read(ctx context.Context, r *http.Request, want profile.Want) (driver.Conn, *profile.Profile, error) {
	kind, value, ok := strings.Cut(r.PathValue("identifier"), ":")
	if !ok || kind == "" || value == "" || len(value) > maxIdentifier {
		return nil, nil, refusal{http.StatusBadRequest, "BadIdentifier", "write {type}:{value}, such as userId:42 or email:ada@example.com, the value at most 1024 bytes"}
	}
	rules, conn, err := a.known(ctx)
	if err != nil {
		return nil, nil, err
	}
	known, err := a.finder.Find(ctx, conn, profile.Key{Type: kind, Value: normalised(rules, kind, value)})
	if err != nil {
		return nil, nil, err
	}
	return conn, known, known.Fill(ctx, conn, want)
}

// lookUp reads a whole profile and where it was seen.
func (a *api) lookUp(ctx context.Context, r *http.Request, events int) (*Profile, error) {
	conn, known, err := a.read(ctx, r, profile.Want{Identifiers: true, Traits: true, Audiences: true, Events: profile.EventPage{Limit: events}})
	if err != nil {
		return nil, err
	}
	out := &Profile{Profile: known, Touchpoints: []Touchpoint{}}
	query := "SELECT source, toInt64(count()) AS n, min(occurred), max(occurred) FROM events" + known.In() +
		" GROUP BY source ORDER BY n DESC, source" + profile.EventsByProfile
	err = warehouse.Each(ctx, conn, query, func(rows driver.Rows) error {
		var t Touchpoint
		err := rows.Scan(&t.Source, &t.Events, &t.First, &t.Last)
		out.Touchpoints = append(out.Touchpoints, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the touchpoints of a profile: %w", err)
	}
	return out, nil
}

// normalised writes a value as the Platform's rule of its type compares it.
func normalised(rules []identity.Rule, kind, value string) string {
	for _, rule := range rules {
		if rule.Type == kind {
			return rule.Normalise(value)
		}
	}
	return value
}
