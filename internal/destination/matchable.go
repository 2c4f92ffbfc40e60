package destination

import (
	"encoding/json"
	"slices"
	"strconv"

	"kohort.dev/kohort/internal/destination/hashing"
	"kohort.dev/kohort/internal/run"
)

// matching is how an ad platform finds people: by which of its keys it takes a type of identifier, and which keys a trait
// can be mapped to.
type matching struct {
	// types of identifiers by key, in the order in which the platform is given keys.
	types []matchType
	// traits are the keys that a trait can be mapped to.
	traits []string
	rules  map[string]hashing.Rule
}

type matchType struct {
	key   string
	types []string // of identifiers
}

// checkFields makes sure that every field of a Sync's traits is a key.
func (m matching) checkFields(fields []string, platform string) error {
	for _, field := range fields {
		if !slices.Contains(m.traits, field) {
			return run.Refuse(ReasonInvalidSpec, "traits of the destination in the Audience has the field %q; %s knows %v", field, platform, m.traits)
		}
	}
	return nil
}

// identifiers gives what is left of an operation's identifiers by key once each is written as the platform writes it,
// in their order and each once. A value that nothing is left of is left out, and nothing else for it.
func (m matching) identifiers(o Operation) map[string][]string {
	out := map[string][]string{}
	for _, t := range m.types {
		for _, kind := range t.types {
			for _, value := range o.Identifiers[kind] {
				if written, ok := m.rules[t.key](value); ok && !slices.Contains(out[t.key], written) {
					out[t.key] = append(out[t.key], written)
				}
			}
		}
	}
	return out
}

// trait gives the value of a mapped trait as the platform writes it; false when there is none that can be used.
func (m matching) trait(o Operation, field string) (string, bool) {
	text, ok := plainText(o.Traits[field])
	if !ok {
		return "", false
	}
	return m.rules[field](text)
}

// plainText of a trait that is a text or a whole number: a year of birth may be either.
func plainText(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, text != ""
	}
	var number int64
	if json.Unmarshal(raw, &number) == nil {
		return strconv.FormatInt(number, 10), true
	}
	return "", false
}

// unmatchable is the result of a member that a platform cannot be told of. names are the identifiers that it takes.
func unmatchable(names string) Result {
	return Result{Rejected: true, Reason: "NoIdentifier",
		Message: "none of the customer's identifiers that are sent is " + names + " that can be used"}
}
