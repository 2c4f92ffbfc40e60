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
func difference(members iter.Seq2[wanted, error], rows iter.Seq2[found, error], yield func(wanted), refused func(found)) error {
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
		switch {
		case !more || row.id != want.id || row.status == statusPending || row.payload != want.payload:
			yield(want)
		case row.status == statusRejected:
			refused(row)
		}
	}
	return err
}
