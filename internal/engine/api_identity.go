package engine

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/identity"
)

// Explanation is the answer to GET /v1/identity/explain: the chain of events that made two identifiers one profile's.
type Explanation struct {
	Links []Link `json:"links"`
}

// Link is an event that had both identifiers.
type Link struct {
	From      string    `json:"from"`
	To        string    `json:"to"`
	MessageID string    `json:"messageId"`
	Source    string    `json:"source"`
	Occurred  time.Time `json:"occurred"`
	Received  time.Time `json:"received"`
}

// explain answers GET /v1/identity/explain?from={type}:{value}&to={type}:{value}.
func (a *api) explain(ctx context.Context, r *http.Request) (any, error) {
	var ids [2]identity.Identifier
	for i, name := range []string{"from", "to"} {
		kind, value, ok := strings.Cut(r.URL.Query().Get(name), ":")
		if !ok || kind == "" || value == "" || len(value) > maxIdentifier {
			return nil, refusal{http.StatusBadRequest, "BadIdentifier", name + " is {type}:{value}, such as userId:42 or email:ada@example.com, the value at most 1024 bytes"}
		}
		ids[i] = identity.Identifier{Type: kind, Value: value}
	}
	links, err := a.chain(ctx, ids[0], ids[1])
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return nil, refusal{http.StatusNotFound, "ProfileNotFound", err.Error()}
	case errors.Is(err, identity.ErrNotOne):
		return nil, refusal{http.StatusNotFound, "NotOneProfile", err.Error()}
	case errors.Is(err, identity.ErrNoRecord):
		return nil, refusal{http.StatusNotFound, "NoRecord", err.Error()}
	case err != nil:
		return nil, err
	}
	answer := Explanation{Links: []Link{}}
	for _, l := range links {
		answer.Links = append(answer.Links, Link{
			From: l.From.Type + ":" + l.From.Value, To: l.To.Type + ":" + l.To.Value,
			MessageID: l.MessageID, Source: l.Source, Occurred: l.Occurred, Received: l.Received,
		})
	}
	return answer, nil
}

// known gives the rules of the Platform's identifiers, and the warehouse that holds them.
func (a *api) known(ctx context.Context) ([]identity.Rule, driver.Conn, error) {
	platform, err := a.objects.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	if platform == nil {
		return nil, nil, errNoPlatform
	}
	conn, err := a.store.get()
	return identityRules(platform), conn, err
}

// chain explains identifiers as a person writes them.
func (a *api) chain(ctx context.Context, from, to identity.Identifier) ([]identity.Link, error) {
	rules, conn, err := a.known(ctx)
	if err != nil {
		return nil, err
	}
	from.Value, to.Value = normalised(rules, from.Type, from.Value), normalised(rules, to.Type, to.Value)
	return identity.Explain(ctx, conn, from, to)
}
