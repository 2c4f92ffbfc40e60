package identity

import "kohort.dev/kohort/internal/event"

// A device is shared once two people have logged in on it: an event with its anonymousId and a user id that may not
// share a profile with the user that the device belongs to. From then on its anonymousId matches nobody; what happens
// there without a login is its guests', a profile of their own. Events from before stay where they are.
//
// That a device is shared is told by an identifier of its own, [guestsOf], which is stored like any other: written once,
// and read as of a version.

// isDevice says whether values of this type are devices, which people may share.
func (r *Rule) isDevice() bool { return r.Type == event.AnonymousID && !r.Unique }

// guestsOf is the value that the guests of a device are known by. It has one length, whatever the device is called.
func guestsOf(device Identifier) string { return "guests:" + device.ID().String() }

// withoutShared leaves the devices that are shared out of ids. One that is all there is stands for its guests.
func (w *work) withoutShared(ids []int) []int {
	w.names = w.names[:0]
	for _, i := range ids {
		if guests := w.slots[i].guests; guests < 0 || w.slots[guests].state == nil {
			w.names = append(w.names, i)
		}
	}
	if len(w.names) == 0 {
		w.names = append(w.names, w.slots[ids[0]].guests)
	}
	return w.names
}

// share notes which of the identifiers that were left out are devices that s and another person use, and says whether
// there was one.
func (w *work) share(s *state, left []int, e int) (found bool) {
	for _, i := range left {
		if slot := &w.slots[i]; slot.guests >= 0 && slot.state != nil && w.isSomebodyElse(s.root(), slot.state.root()) {
			w.reserve(&w.slots[slot.guests], e)
			found = true
		}
	}
	return found
}

// reserve gives the guests of a device an ordinal. They have no profile before something happens there without a login.
func (w *work) reserve(guests *slot, e int) {
	w.roots = w.roots[:0]
	s := w.unite(e)
	guests.state, guests.attached, guests.event = s, true, e
	s.add(guests.rank, &w.rules[guests.rank], w.batch.Events[e].Occurred.UnixMilli())
}

// welcome makes a profile of guests when the first of them comes, and says whether it did.
func (w *work) welcome(s *state, ids []int, e int) bool {
	if s.rank != unnamed {
		return false
	}
	guests := &w.slots[ids[0]]
	s.created = w.batch.Events[e].Received
	s.name(uint32(guests.rank), w.identifier(guests).ID())
	w.touched = append(w.touched, s)
	return true
}

// isSomebodyElse says whether a and b are two profiles that can never be one.
func (w *work) isSomebodyElse(a, b *state) bool {
	if a == b {
		return false
	}
	for rank := range w.rules {
		if w.rules[rank].Unique && a.counts[rank] > 0 && b.counts[rank] > 0 {
			return true
		}
	}
	return false
}
