// Package hashing makes values of customers into what ad platforms match with: each platform has its own rules for how a
// value is written before it is hashed, and a value that is written otherwise never matches. It is pure.
//
// Every rule gives false for a value that nothing usable is left of; the caller leaves that value out, and no other. A
// value that is a SHA-256 in hexadecimal already is kept, in lower case, and not hashed again.
package hashing

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
)

// Rule makes a value into what is sent; false when it is no such value.
type Rule func(value string) (string, bool)

var hashed = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// hash makes a rule that hashes what a rule of writing gives.
func hash(write Rule) Rule {
	return func(value string) (string, bool) {
		if trimmed := strings.TrimSpace(value); hashed.MatchString(trimmed) {
			return strings.ToLower(trimmed), true
		}
		written, ok := write(value)
		if !ok || written == "" {
			return "", false
		}
		sum := sha256.Sum256([]byte(written))
		return hex.EncodeToString(sum[:]), true
	}
}

// isAddress says whether something and a domain stand around one @. Whether the address exists is not known here.
func isAddress(text string) bool {
	local, domain, ok := strings.Cut(text, "@")
	return ok && local != "" && domain != "" && !strings.ContainsAny(domain, "@") && !strings.ContainsFunc(text, unicode.IsSpace)
}

// The digits of an international phone number (ITU-T E.164: at most 15 with the country code; none has fewer than 7).
const minDigits, maxDigits = 7, 15

// international gives the digits of a phone number with its country code. A number with one leading zero is written as
// it is dialled within a country; which one is not known, and to drop the zero would make the number of someone else of it.
func international(value string) (string, bool) {
	value = strings.TrimSpace(value)
	plus := strings.HasPrefix(value, "+")
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, value)
	if strings.ContainsFunc(value, unicode.IsLetter) {
		return "", false // an extension, or no number at all
	}
	if !plus && strings.HasPrefix(digits, "0") && !strings.HasPrefix(digits, "00") {
		return "", false
	}
	digits = strings.TrimLeft(digits, "0")
	if len(digits) < minDigits || len(digits) > maxDigits {
		return "", false
	}
	return digits, true
}

func without(drop func(rune) bool) func(string) string {
	return func(text string) string {
		return strings.Map(func(r rune) rune {
			if drop(r) {
				return -1
			}
			return r
		}, text)
	}
}
