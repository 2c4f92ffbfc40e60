package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/internal/event"
)

// Violation is one way in which events of one batch broke their tracking plan.
type Violation struct {
	Source string `json:"source"`
	Party  string `json:"party"`
	Event  string `json:"event"`
	// Field is a JSON pointer into properties or traits; empty for the event as a whole.
	Field   string `json:"field,omitempty"`
	Rule    string `json:"rule"`
	Action  string `json:"action"`
	Message string `json:"message"`
	// Count of violations; MessageID is that of one of the events.
	Count     uint64    `json:"count"`
	MessageID string    `json:"messageId"`
	Received  time.Time `json:"received"`
}

// Violations is the answer to GET /v1/violations, newest first.
type Violations struct {
	Violations []Violation `json:"violations"`
}

// violations answers GET /v1/violations?source=web&event=Order+Completed&since=24h&limit=100.
func (a *api) violations(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	since, err := momentIn(query, "since", time.Now())
	if err != nil {
		return nil, err
	}
	if since.IsZero() {
		since = time.Now().Add(-24 * time.Hour)
	}
	limit, err := howMany(query, "limit", 1)
	if err != nil {
		return nil, err
	}
	where := []string{fmt.Sprintf("received >= fromUnixTimestamp64Milli(%d, 'UTC')", since.UnixMilli())}
	var args []any
	for _, column := range []string{"source", "event"} {
		if value := query.Get(column); value != "" {
			if len(value) > event.MaxID {
				return nil, refusal{http.StatusBadRequest, "BadFilter", column + " has at most " + strconv.Itoa(event.MaxID) + " bytes"}
			}
			where, args = append(where, column+" = ?"), append(args, value)
		}
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT toString(source), toString(party), toString(event), field, toString(rule), toString(action), message, violations, message_id, received FROM violations WHERE "+
		strings.Join(where, " AND ")+" ORDER BY received DESC, seq DESC, event, field, rule LIMIT "+strconv.Itoa(limit), args...)
	if err != nil {
		return nil, fmt.Errorf("reading violations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := Violations{Violations: []Violation{}}
	for rows.Next() {
		var v Violation
		if err := rows.Scan(&v.Source, &v.Party, &v.Event, &v.Field, &v.Rule, &v.Action, &v.Message, &v.Count, &v.MessageID, &v.Received); err != nil {
			return nil, fmt.Errorf("reading violations: %w", err)
		}
		out.Violations = append(out.Violations, v)
	}
	return out, rows.Err()
}

// momentIn reads how long ago, such as 24h, or a time of RFC 3339; zero when the query does not have it.
func momentIn(query url.Values, name string, now time.Time) (time.Time, error) {
	text := query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	span, err := model.ParseDuration(text)
	if err != nil {
		return time.Time{}, refusal{http.StatusBadRequest, "BadTime", name + " is how long ago, such as 24h or 7d, or a time such as 2026-11-23T12:00:00Z"}
	}
	return now.Add(-time.Duration(span)), nil
}
