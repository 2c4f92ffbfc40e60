package sync

import "fmt"

// spanRows is how many rows of a side a span should have. Of a difference a run holds at most this many entries of 32
// bytes in memory; the warehouse needs about 350 MiB to hash this many customers with two identifiers and one trait each
// (measured), and reads its tables once for each span.
const spanRows = 500_000

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
