package profile

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/warehouse"
)

// EventPage says which events of a profile are read: the newest Limit of those that it describes, newest first.
type EventPage struct {
	Limit int
	// Name of the events; empty means all.
	Name string
	// Since leaves older events out. Zero means from the beginning.
	Since time.Time
	// After is the last event of the page before; zero means the first page.
	After Cursor
}

// Cursor is the place of an event in the order that pages are read in. No two events have the same, for one message of
// the stream has each messageId once. It does not name the profile, so a merge between two pages loses no older event.
type Cursor struct {
	// Occurred in milliseconds since 1970, which is what the warehouse keeps.
	Occurred  int64
	Seq       uint64
	MessageID string
}

// ErrBadCursor says that a text is no cursor.
var ErrBadCursor = errors.New("no cursor of an earlier answer")

// At gives the cursor of an event.
func At(e Event) Cursor { return Cursor{e.Occurred.UnixMilli(), e.Seq, e.MessageID} }

// String writes a cursor as it stands in a URL.
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.Occurred, 10) + " " + number(c.Seq) + " " + c.MessageID))
}

// ParseCursor reads what [Cursor.String] wrote, or says [ErrBadCursor].
func ParseCursor(text string) (Cursor, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.SplitN(string(raw), " ", 3)
	if err != nil || len(parts) != 3 {
		return Cursor{}, ErrBadCursor
	}
	occurred, err := strconv.ParseInt(parts[0], 10, 64)
	seq, err2 := strconv.ParseUint(parts[1], 10, 64)
	if err != nil || err2 != nil {
		return Cursor{}, ErrBadCursor
	}
	return Cursor{occurred, seq, parts[2]}, nil
}

// query reads the page from the rows that in, a WHERE clause, leaves.
func (p EventPage) query(in string) string {
	if p.Name != "" {
		in += " AND event = {name:String}"
	}
	// Compared as milliseconds, for not every number that may stand in a URL is a DateTime64.
	if !p.Since.IsZero() {
		in += " AND toUnixTimestamp64Milli(occurred) >= " + integer(p.Since.UnixMilli())
	}
	if p.After != (Cursor{}) {
		in += " AND (toUnixTimestamp64Milli(occurred), seq, message_id) < (" + integer(p.After.Occurred) + ", toUInt64(" + number(p.After.Seq) + "), {after:String})"
	}
	return "SELECT event, type, occurred, received, source, party, message_id, properties, seq FROM events" + in +
		" ORDER BY occurred DESC, seq DESC, message_id DESC LIMIT " + strconv.Itoa(max(0, p.Limit))
}

// parameters gives the query the texts that others wrote.
func (p EventPage) parameters(ctx context.Context) context.Context {
	return warehouse.WithParameters(ctx, map[string]string{"name": p.Name, "after": p.After.MessageID})
}

func integer(n int64) string { return "toInt64('" + strconv.FormatInt(n, 10) + "')" }
