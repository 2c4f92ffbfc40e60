package destination

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxMessage is what a status keeps of a rejection's message (RejectionCount.example), in bytes.
const maxMessage = 256

// What looks personal in a message even if it is no value of the row: e-mail addresses, and numbers long enough to be a
// phone's or an account's.
var (
	mailLike   = regexp.MustCompile(`[^\s"'<>(),;:]+@[^\s"'<>(),;:]+`)
	numberLike = regexp.MustCompile(`\+?\d[\d ().-]{5,}\d`)
	reasonWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,63}$`)
)

// scrub makes a message of a destination about a row fit for a status: without the row's values, without what looks
// like an address or a number of a person, on one line, and short.
func scrub(message string, op Operation) string {
	if len(message) > 16*maxMessage { // what is cut off is never shown; this bounds the work
		message = message[:16*maxMessage]
	}
	message = strings.ToValidUTF8(message, "")
	for _, value := range personal(op) {
		message = strings.ReplaceAll(message, value, "…")
	}
	message = mailLike.ReplaceAllString(message, "…")
	message = numberLike.ReplaceAllString(message, "…")
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= maxMessage {
		return message
	}
	end := maxMessage - len("…")
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + "…"
}

// personal lists the values of a row, the longest first, so that none is hidden by a part of it. One or two
// letters name nobody.
func personal(op Operation) []string {
	values := []string{op.ID}
	for _, list := range op.Identifiers {
		values = append(values, list...)
	}
	for _, raw := range op.Traits {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			values = append(values, text)
		}
	}
	values = slices.DeleteFunc(values, func(v string) bool { return len(v) < 3 })
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return values
}

// reason gives what a destination said as a reason if it is one CamelCase word, and otherwise the word Rejected: a
// sentence as a reason may hold personal data, and every different one would be counted on its own.
func reason(said string) string {
	if reasonWord.MatchString(said) {
		return said
	}
	return "Rejected"
}
