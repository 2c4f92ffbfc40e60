package quarantine

import (
	"fmt"
	"strings"
	"time"

	"kohort.dev/kohort/internal/event"
)

// Filter chooses rows; a zero field chooses all.
type Filter struct {
	Source, Stage, Reason string
	// Event is the name of a track event, MessageID that of one event, as the sender wrote them.
	Event, MessageID string
	// Since and Until bound when the row was received: at or after Since, before Until.
	Since, Until time.Time
	// Released says whether rows that were let in again are chosen too.
	Released bool
}

// waiting chooses rows that were not let in.
const waiting = "id NOT IN (SELECT id FROM quarantine_released)"

// maxOriginal of a row that is let in again, in bytes; no event is larger.
const maxOriginal = 1 << 20

// redrivable chooses rows whose original is an event, or a record that can be mapped again. What a reader refused is neither,
// and what is no message of this project was never an event.
var redrivable = fmt.Sprintf("(length(original) <= %d AND (record != '' OR stage IN ('%s', '%s', '%s') AND reason != '%s'))", maxOriginal, event.StageParse, event.StagePlan, event.StageIdentity, event.MalformedMessage)

// where gives the condition in SQL and its arguments.
func (f Filter) where() (string, []any) {
	conditions, args := []string{"1"}, []any(nil)
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	for _, c := range []struct{ column, value string }{{"source", f.Source}, {"stage", f.Stage}, {"reason", f.Reason}} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	for _, c := range []struct{ field, value string }{{"event", f.Event}, {"messageId", f.MessageID}} {
		if c.value != "" {
			add("JSONExtractString(original, '"+c.field+"') = ?", c.value)
		}
	}
	if !f.Since.IsZero() {
		add(fmt.Sprintf("received >= fromUnixTimestamp64Milli(%d, 'UTC')", f.Since.UnixMilli()))
	}
	if !f.Until.IsZero() {
		add(fmt.Sprintf("received < fromUnixTimestamp64Milli(%d, 'UTC')", f.Until.UnixMilli()))
	}
	if !f.Released {
		add(waiting)
	}
	return strings.Join(conditions, " AND "), args
}
