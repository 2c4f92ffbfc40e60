package identity

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Rule describes one type of identifier, with every default filled in. Its place in the list of rules is its priority,
// the first the highest. A plan of ingestion holds it as JSON.
type Rule struct {
	Type      string
	Limit     int32         // values of this type that one profile may hold, at least 1
	Window    time.Duration // that the limit is for, 0 for ever
	Unique    bool          // names one person for ever; the same as a limit of 1
	Normalize string
	Region    string   // of telephone numbers without a country code
	Blocked   []string // values that identify nobody, beside [IsBlocked]
	Compose   []string // traits that the identifier is made of
}

// MaxIdentifiers is how many identifiers one profile may hold, whatever its rules allow: what is beyond is a machine or
// a mistake, and a profile's identifiers must be read whole to decide about it. A profile of n identifiers was merged
// fewer than n times, so this bounds merges too.
const MaxIdentifiers = 1000

// Equal says whether r decides as other does.
func (r Rule) Equal(other Rule) bool {
	return r.Type == other.Type && r.Limit == other.Limit && r.Window == other.Window && r.Unique == other.Unique &&
		r.Normalize == other.Normalize && r.Region == other.Region && slices.Equal(r.Blocked, other.Blocked) &&
		slices.Equal(r.Compose, other.Compose)
}

// limit is how many values one profile may hold.
func (r Rule) limit() int {
	if r.Unique {
		return 1
	}
	return max(1, int(r.Limit))
}

// windowed says whether values are counted by time.
func (r Rule) windowed() bool { return r.Window > 0 && !r.Unique }

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
		case !slices.Contains([]string{Exact, Lowercase, Digits, Email, Mailbox, Phone}, r.Normalize):
			return fmt.Errorf("identity: %s has normalize %q: use Exact, Lowercase, Digits, Email, Mailbox or Phone", r.Type, r.Normalize)
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
