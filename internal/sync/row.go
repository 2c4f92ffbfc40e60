package sync

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// status is what is known of a row at the destination.
type status string

const (
	// statusDelivered : the destination holds exactly the payload.
	statusDelivered status = "delivered"
	// statusRejected : the destination refused the payload; it holds what it held before.
	statusRejected status = "rejected"
	// statusPending : the row was about to be sent; the destination holds what it held before, or the new, or half of it.
	statusPending status = "pending"
)

// removal stands in place of a payload's hash when what was sent is a removal.
const removal = 1

// action is what a run has to do about a customer.
type action uint8

const (
	nothing action = iota
	// refused : the destination refused exactly this before; it is not asked again.
	refused
	// forget : never at the destination and no member any more.
	forget
	add
	update
	remove
)

// reason under which a pending row is recorded, so that a later run counts it for what it is.
func (a action) reason() string {
	switch a {
	case add:
		return "Adding"
	case update:
		return "Updating"
	case remove:
		return "Removing"
	}
	return ""
}

// identifiers by type; the values are sorted and unique.
type identifiers map[string][]string

// with gives the union of two sets.
func (i identifiers) with(others identifiers) identifiers {
	union := make(identifiers, len(i)+len(others))
	for kind, values := range i {
		union[kind] = slices.Clone(values)
	}
	for kind, values := range others {
		merged := slices.Concat(union[kind], values)
		slices.Sort(merged)
		union[kind] = slices.Compact(merged)
	}
	return union
}

// without gives the set less one identifier.
func (i identifiers) without(kind, value string) identifiers {
	rest := i.with(nil)
	rest[kind] = slices.DeleteFunc(rest[kind], func(v string) bool { return v == value })
	if len(rest[kind]) == 0 {
		delete(rest, kind)
	}
	return rest
}

func (i identifiers) has(kind, value string) bool {
	_, found := slices.BinarySearch(i[kind], value)
	return found
}

// wanted is a customer in the audience, as much as the comparison needs.
type wanted struct {
	profile uint64 // the surviving ordinal
	id      uuid.UUID
	payload uint64 // hash of identifiers, traits, the mapping of traits, and where the rows are held
	// entry is the revision of the audience by which they became a member; 0 where it does not matter.
	entry uint64
	// sent is the newest entry that the destination took, under whatever id. Only Append asks for it.
	sent uint64
}

// member is a customer in the audience, with what the destination is to hold of them.
type member struct {
	wanted
	identifiers identifiers
	traits      map[string]json.RawMessage // by field; null where the customer has no value
}

// heldRow is a row of sync_state.
type heldRow struct {
	id      uuid.UUID
	profile uint64 // the ordinal under which the row was sent last; 0 when it is not known
	payload uint64
	// entry is the newest entry into the audience that the destination took, or, of a pending addition, that it is sent;
	// 0 when it took none, or it is not known which.
	entry  uint64
	holder uint64 // where the destination took it, see rule; 0 when it is not known
	// identifiers ever sent to the destination and not taken out since.
	identifiers identifiers
	// never : the destination never held the row. Only rejected rows can be so; in the table identifiers is then empty
	// text instead of an object.
	never   bool
	status  status
	reason  string
	version uint64
}

// encodeIdentifiers gives the table's text of a row's identifiers.
func (r heldRow) encodeIdentifiers() string {
	if r.never {
		return ""
	}
	if len(r.identifiers) == 0 {
		return "{}"
	}
	text, err := json.Marshal(r.identifiers)
	if err != nil { // texts always encode
		panic(err)
	}
	return string(text)
}

// decodeIdentifiers reads the table's text.
func (r *heldRow) decodeIdentifiers(text string) error {
	if text == "" {
		r.never = true
		return nil
	}
	if err := json.Unmarshal([]byte(text), &r.identifiers); err != nil {
		return fmt.Errorf("reading the identifiers of a row of sync_state: %w", err)
	}
	return nil
}
