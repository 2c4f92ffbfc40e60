package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/quarantine"
)

// QuarantineRows is the answer to GET /v1/quarantine, newest first.
type QuarantineRows struct {
	Rows []quarantine.Row `json:"rows"`
}

// QuarantineGroups is the answer to GET /v1/quarantine/summary.
type QuarantineGroups struct {
	Groups []quarantine.Group `json:"groups"`
}

// Redriven is the answer to POST /v1/quarantine/redrive.
type Redriven struct {
	// Sent is how many rows are on the stream's disk.
	Sent int `json:"sent"`
	// Refused is how many records the mapping of their Source still makes no event of, and Example why the first one; they
	// stay in quarantine.
	Refused int    `json:"refused,omitempty"`
	Example string `json:"example,omitempty"`
	// Next is the cursor of the call after this one; the last has none.
	Next string `json:"next,omitempty"`
}

// quarantined answers GET /v1/quarantine?source=web&reason=PlanViolated&since=24h&limit=20.
func (a *api) quarantined(ctx context.Context, r *http.Request) (any, error) {
	f, err := filterIn(r.URL.Query(), time.Now())
	if err != nil {
		return nil, err
	}
	limit, err := howMany(r.URL.Query(), "limit", 1)
	if err != nil {
		return nil, err
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	rows, err := quarantine.List(ctx, conn, f, limit)
	return QuarantineRows{rows}, err
}

// summary answers GET /v1/quarantine/summary, with the same filters.
func (a *api) summary(ctx context.Context, r *http.Request) (any, error) {
	f, err := filterIn(r.URL.Query(), time.Now())
	if err != nil {
		return nil, err
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	groups, err := quarantine.Count(ctx, conn, f)
	return QuarantineGroups{groups}, err
}

// redrive answers POST /v1/quarantine/redrive, with the same filters, a page at a time.
func (a *api) redrive(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	f, err := filterIn(query, time.Now())
	if err != nil {
		return nil, err
	}
	var from *quarantine.Place
	if text := query.Get("cursor"); text != "" {
		place, err := quarantine.ParsePlace(text)
		if err != nil {
			return nil, errBadCursor
		}
		from = &place
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	sources, err := a.objects.sources(ctx)
	if err != nil {
		return nil, err
	}
	page, err := quarantine.Redrive(ctx, conn, a.stream, f, from, mappedBy(sources))
	if errors.Is(err, quarantine.ErrStream) {
		a.logger.Warn("sending rows of quarantine", "error", err.Error())
		return nil, refusal{http.StatusServiceUnavailable, "StreamUnavailable", "the stream does not acknowledge; send the same request again, rows count once"}
	}
	if err != nil {
		return nil, err
	}
	out := Redriven{Sent: page.Sent, Refused: page.Refused, Example: page.Example}
	if page.Next != nil {
		out.Next = page.Next.String()
	}
	return out, nil
}

// mappedBy maps records by the mappings that their Sources have now.
func mappedBy(sources []*v1alpha1.Source) quarantine.Map {
	type compiled struct {
		mapping *mapping.Mapping
		err     error
	}
	known := map[string]compiled{}
	return func(r quarantine.Row) ([]byte, error) {
		c, ok := known[r.Source]
		if !ok {
			c.err = fmt.Errorf("there is no Source %s with a mapping", r.Source)
			for _, s := range sources {
				if s.Name == r.Source && s.Spec.Mapping != "" {
					c.mapping, c.err = mapping.Compile(s.Spec.Mapping)
				}
			}
			known[r.Source] = c
		}
		if c.err != nil {
			return nil, c.err
		}
		return c.mapping.Again(r.Record, r.Original)
	}
}

// filterIn reads which rows of quarantine are asked for.
func filterIn(query url.Values, now time.Time) (f quarantine.Filter, err error) {
	for name, field := range map[string]*string{"source": &f.Source, "stage": &f.Stage, "reason": &f.Reason, "event": &f.Event, "messageId": &f.MessageID} {
		if *field = query.Get(name); len(*field) > event.MaxID {
			return f, refusal{http.StatusBadRequest, "BadFilter", fmt.Sprintf("%s has at most %d bytes", name, event.MaxID)}
		}
	}
	for name, field := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if *field, err = momentIn(query, name, now); err != nil {
			return f, err
		}
	}
	if text := query.Get("released"); text != "" {
		if f.Released, err = strconv.ParseBool(text); err != nil {
			return f, refusal{http.StatusBadRequest, "BadFilter", "released is true, to see what was let in again too, or false"}
		}
	}
	return f, nil
}
