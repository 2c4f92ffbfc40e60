package identity

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// How values are written before they are compared.
const (
	Exact     = "Exact"
	Lowercase = "Lowercase"
	Email     = "Email" // lower case without blanks around it; what is not local@domain is not an identifier
)

// Rule describes one type of identifier. Its place in the list of rules is its priority, the first the highest. The
// fields are those of v1alpha1.IdentifierRule with every default filled in, so identity.Rule(rule) converts one.
type Rule struct {
	Type      string
	Limit     int32 // values of this type that one profile may hold, at least 1
	Unique    bool  // names one person for ever; the same as a limit of 1
	Normalize string
}

// limit is how many values one profile may hold.
func (r Rule) limit() int {
	if r.Unique {
		return 1
	}
	return max(1, int(r.Limit))
}

// Check says what is wrong with rules, if anything.
func Check(rules []Rule) error {
	if len(rules) == 0 {
		return fmt.Errorf("identity: no identifiers; name at least one type, such as userId")
	}
	seen := map[string]bool{}
	for _, r := range rules {
		switch {
		case r.Type == "" || seen[r.Type]:
			return fmt.Errorf("identity: type %q is empty or occurs twice", r.Type)
		case r.Normalize != Exact && r.Normalize != Lowercase && r.Normalize != Email:
			return fmt.Errorf("identity: %s has normalize %q: use Exact, Lowercase or Email", r.Type, r.Normalize)
		}
		seen[r.Type] = true
	}
	return nil
}

// Identifier is a value that was normalised by the rule of its type.
type Identifier struct {
	Type, Value string
}

// namespace of profile ids: the UUIDv5 of kohort.dev among DNS names. It must never change.
var namespace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("kohort.dev"))

// ID is the public id that an identifier gives to a profile.
func (i Identifier) ID() uuid.UUID {
	return uuid.NewSHA1(namespace, []byte(i.Type+":"+i.Value))
}

// Normalise writes a value as the rule compares it. It is empty when the value cannot identify anybody: blank, blocked,
// or not an e-mail address where one must be.
func (r Rule) Normalise(value string) string {
	value = strings.TrimSpace(value)
	switch r.Normalize {
	case Lowercase:
		value = strings.ToLower(value)
	case Email:
		value = strings.ToLower(value)
		local, domain, found := strings.Cut(value, "@")
		if !found || local == "" || domain == "" || strings.ContainsAny(value, " \t\r\n") {
			return ""
		}
	}
	if IsBlocked(value) {
		return ""
	}
	return value
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
