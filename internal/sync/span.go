package sync

import "fmt"

// spanRows is how many rows of a side a span should have: what a run holds in memory of a difference is at most this
// many entries of 40 bytes, and what the warehouse groups at once is this many customers.
const spanRows = 250_000

// span is a part of the id space, which version 5 UUIDs fill evenly: ids from low up to, and without, high, as text.
type span struct{ low, high string }

// spans cuts the id space into parts of about spanRows each.
func spans(rows uint64) []span {
	count := max(1, (rows+spanRows-1)/spanRows)
	parts := make([]span, 0, count)
	low := "0"
	for i := uint64(1); i < count; i++ {
		high := fmt.Sprintf("%08x", (i<<32)/count)
		parts = append(parts, span{low, high})
		low = high
	}
	return append(parts, span{low, end})
}

// end is behind every id: g follows the last hexadecimal digit.
const end = "g"

// condition selects the ids of a span; column is an expression of type String.
func (s span) condition(column string) string {
	return fmt.Sprintf("%s >= '%s' AND %s < '%s'", column, s.low, column, s.high)
}
