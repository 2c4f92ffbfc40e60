package source

import (
	"regexp"
	"strings"
)

// redact takes out of a message what may be a customer's: texts in quotes, addresses and longer numbers. What stays says
// where and what, for a status that anybody may read; quarantine keeps the whole message.
func redact(message string) string {
	message = quoted.ReplaceAllString(message, `"…"`)
	message = atSign.ReplaceAllString(message, "…")
	message = digits.ReplaceAllString(message, "…")
	message = strings.Join(strings.Fields(message), " ")
	const most = 200
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	return message
}

var (
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)
	atSign = regexp.MustCompile(`\S*@\S*`)
	digits = regexp.MustCompile(`\d[\d.,:-]{3,}`)
)
