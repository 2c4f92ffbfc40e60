package identity

import (
	"slices"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/unicode/norm"
)

// How values are written before they are compared.
const (
	Exact     = "Exact"
	Lowercase = "Lowercase"
	Digits    = "Digits"  // nothing but the digits
	Email     = "Email"   // lower case without blanks around it; what is not local@domain is not an identifier
	Mailbox   = "Mailbox" // as Email, and one for all addresses that Gmail delivers to one mailbox
	Phone     = "Phone"   // E.164, such as +49301234567; what is no possible number is not an identifier
)

// separator of the parts of a composed identifier. No part contains it.
const separator = "|"

// Normalise writes a value as the rule compares it. It is empty when the value cannot identify anybody: blank, blocked,
// or not what the rule says it is.
func (r *Rule) Normalise(value string) string {
	if len(r.Compose) > 0 {
		return r.compose(strings.Split(value, separator))
	}
	value = r.write(strings.TrimSpace(value))
	if IsBlocked(value) || r.isBlocked(value) {
		return ""
	}
	return value
}

// isBlocked says whether a normalised value is one of the rule's own blocked ones.
func (r *Rule) isBlocked(value string) bool {
	return len(r.Blocked) > 0 && slices.ContainsFunc(r.Blocked, func(b string) bool {
		return value == b || value == r.write(strings.TrimSpace(b))
	})
}

func (r *Rule) write(value string) string {
	switch r.Normalize {
	case Lowercase:
		return strings.ToLower(value)
	case Digits:
		return strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return c
			}
			return -1
		}, value)
	case Email:
		return email(value)
	case Mailbox:
		return mailbox(email(value))
	case Phone:
		return phone(value, r.Region)
	}
	return value
}

func email(value string) string {
	value = strings.ToLower(value)
	local, domain, found := strings.Cut(value, "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(value, " \t\r\n") {
		return ""
	}
	return value
}

// mailbox drops what Gmail does not look at: dots and what follows a plus sign
// (https://support.google.com/mail/answer/7436150).
func mailbox(value string) string {
	local, domain, _ := strings.Cut(value, "@")
	if domain != "gmail.com" && domain != "googlemail.com" {
		return value
	}
	local, _, _ = strings.Cut(local, "+")
	if local = strings.ReplaceAll(local, ".", ""); local == "" {
		return ""
	}
	return local + "@gmail.com"
}

const (
	// longestPhone bounds what is parsed: E.164 has 15 digits, and people write signs between them.
	longestPhone = 50
	// shortestPhone is a plus sign and 7 digits: what is shorter is a short code, which is nobody's.
	shortestPhone = 8
)

func phone(value, region string) string {
	if value == "" || len(value) > longestPhone || (region == "" && value[0] != '+') {
		return ""
	}
	number, err := phonenumbers.Parse(value, region)
	if err != nil || !phonenumbers.IsPossibleNumber(number) {
		return ""
	}
	value = phonenumbers.Format(number, phonenumbers.E164)
	if len(value) < shortestPhone {
		return ""
	}
	return value
}

// compose joins the values of the rule's traits. It is empty when one of them is missing.
func (r *Rule) compose(parts []string) string {
	if len(parts) != len(r.Compose) {
		return ""
	}
	written := make([]string, len(parts))
	for i, part := range parts {
		if written[i] = bare(part); written[i] == "" || IsBlocked(written[i]) {
			return ""
		}
	}
	value := strings.Join(written, separator)
	if slices.Contains(r.Blocked, value) {
		return ""
	}
	return value
}

// bare is text in lower case, without accents, punctuation and blanks: "Müller-Lüdenscheidt " is mullerludenscheidt.
func bare(text string) string {
	var b strings.Builder
	for _, c := range norm.NFKD.String(text) {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			b.WriteRune(unicode.ToLower(c))
		}
	}
	return b.String()
}

// IsBlocked says whether a value is one that broken senders give to everybody, so that it identifies nobody. The list is
// the union of those that Segment Unify and PostHog publish, without regard to case, bare or in quotes:
// https://segment.com/docs/unify/identity-resolution/identity-resolution-settings/ (blocked values) and
// https://posthog.com/docs/product-analytics/identify (illegal ids).
func IsBlocked(value string) bool {
	if len(value) > 20 && strings.Trim(value, "0-") != "" {
		return false // longer than every word of the list
	}
	if n := len(value); n > 1 && (value[0] == '\'' || value[0] == '"') && value[n-1] == value[0] {
		value = strings.TrimSpace(value[1 : n-1])
	}
	if strings.Trim(value, "0-") == "" || value == "-1" {
		return true
	}
	switch strings.ToLower(value) {
	case "null", "none", "nan", "nil", "undefined", "[object object]", "true", "false",
		"anonymous", "guest", "id", "distinctid", "distinct_id", "email", "not_authenticated":
		return true
	}
	return false
}
