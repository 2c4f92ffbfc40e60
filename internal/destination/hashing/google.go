package hashing

import (
	"strings"
	"unicode"
)

// Google gives the rules of Customer Match by identifier, and of the parts of an address:
// https://developers.google.com/data-manager/api/devguides/concepts/formatting
func Google() map[string]Rule {
	return map[string]Rule{
		"emailAddress": hash(googleEmail), "phoneNumber": hash(e164),
		"givenName": hash(trimmed), "familyName": hash(trimmed), "regionCode": region, "postalCode": plain,
	}
}

// googleEmail has no white space at all, and, at Google's own domains, no dots before the @, not one, nor a plus and what
// follows it: they lead to one mailbox there.
func googleEmail(value string) (string, bool) {
	text := without(unicode.IsSpace)(strings.ToLower(value))
	if !isAddress(text) {
		return "", false
	}
	local, domain, _ := strings.Cut(text, "@")
	if domain == "gmail.com" || domain == "googlemail.com" {
		local, _, _ = strings.Cut(strings.ReplaceAll(local, ".", ""), "+")
	}
	return local + "@" + domain, local != ""
}

func e164(value string) (string, bool) {
	digits, ok := international(value)
	return "+" + digits, ok
}

// trimmed is a name: punctuation and spaces within it stay.
func trimmed(value string) (string, bool) {
	text := strings.TrimSpace(strings.ToLower(value))
	return text, text != ""
}

// region is a country by its two letters (ISO 3166-1 alpha-2), which is not hashed.
func region(value string) (string, bool) {
	text, ok := country(value)
	return strings.ToUpper(text), ok
}
