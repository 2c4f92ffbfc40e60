package sync

import (
	"bytes"
	"iter"

	"github.com/google/uuid"
)

// difference joins members and rows, both ordered by id, and yields each member that has to be sent, and the row of each
// that the destination refused as it is. Members that the destination holds, and rows of customers that
// are no members, it passes over: removals were dealt with before. A member that comes twice, which two ordinals with one
// id would do, counts once.
func (r rule) difference(members iter.Seq2[wanted, error], rows iter.Seq2[heldRow, error], send func(wanted), refuse func(heldRow)) error {
	next, stop := iter.Pull2(rows)
	defer stop()
	row, err, more := next()
	var last uuid.UUID
	for want, failure := range members {
		if failure != nil {
			return failure
		}
		if want.id == last {
			continue
		}
		last = want.id
		for more && err == nil && bytes.Compare(row.id[:], want.id[:]) < 0 {
			row, err, more = next()
		}
		if err != nil {
			return err
		}
		var held *heldRow
		if more && row.id == want.id {
			held = &row
		}
		switch r.decide(&want, held) {
		case add, update:
			send(want)
		case refused:
			refuse(row)
		}
	}
	return err
}
