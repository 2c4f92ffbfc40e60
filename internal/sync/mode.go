package sync

import (
	"hash/fnv"
	"slices"
)

// Modes of a Sync, as in api/v1alpha1: what a run makes of the difference between the members and what was delivered.
const (
	// ModeMirror : the destination holds exactly the members, each as they are.
	ModeMirror = "Mirror"
	// ModeAddRemove : it holds exactly the members, each as they were when they entered.
	ModeAddRemove = "AddRemove"
	// ModeUpsert : it holds the members, each as they are, and everybody who ever was one.
	ModeUpsert = "Upsert"
	// ModeAppend : it is sent each entry into the audience once.
	ModeAppend = "Append"
)

// modes in the order in which messages name them.
var modes = []string{ModeMirror, ModeAddRemove, ModeUpsert, ModeAppend}

func isMode(name string) bool { return slices.Contains(modes, name) }

// rule decides what a run has to do about a customer.
type rule struct {
	mode string
	// holder is a hash of where the rows are held: what another holder was sent is not there.
	holder uint64
	// again : everything was sent anew, so that rows of old that do not tell their holder are not at it.
	again bool
}

// holderHash gives a rule's holder; never 0, which stands for unknown.
func holderHash(holder string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(holder)) // a hash takes everything
	return max(hash.Sum64(), 1)
}

// takesOut says whether who leaves the audience is taken out of the destination. Who leaves the Platform is in each mode.
func (r rule) takesOut() bool { return r.mode == ModeMirror || r.mode == ModeAddRemove }

// decide says what to do about a customer, given the member that they are (nil: none, and to be taken out) and what
// sync_state says (nil: nothing).
//
// In each mode a pending row is sent, for nobody knows what is held, and a refused row is sent again only when its payload
// changes.
func (r rule) decide(want *wanted, row *heldRow) action {
	switch {
	case want == nil:
		return decideRemoval(row)
	case row != nil && row.status == statusPending:
		if row.reason == add.reason() {
			return add
		}
		return update
	case r.isDone(want, row):
		return nothing
	case row == nil:
		return add
	case row.status == statusRejected && row.payload == want.payload:
		return refused
	case row.status == statusRejected && row.never || r.mode == ModeAppend:
		return add
	}
	return update
}

// isDone says whether the destination has what the mode asks for of a member.
func (r rule) isDone(want *wanted, row *heldRow) bool {
	switch r.mode {
	case ModeAppend:
		return want.entry <= want.sent
	case ModeAddRemove:
		return row != nil && row.isHeld() && r.isHere(row)
	}
	return row != nil && row.status == statusDelivered && row.payload == want.payload
}

// isHere says whether a row was delivered to the holder of now. Of old rows that is not known, and taken for granted.
func (r rule) isHere(row *heldRow) bool { return row.holder == r.holder || row.holder == 0 && !r.again }

// isHeld says whether the destination holds the row for certain, in whatever form. That of a row that was refused it took
// an entry before is certain, for that is forgotten when a removal is sent.
func (row *heldRow) isHeld() bool {
	return row.status == statusDelivered || row.status == statusRejected && row.entry > 0
}

func decideRemoval(row *heldRow) action {
	switch {
	case row == nil:
		return nothing
	case row.status == statusRejected && row.never:
		return forget
	case row.status == statusRejected && row.payload == removal:
		return refused
	}
	return remove
}
