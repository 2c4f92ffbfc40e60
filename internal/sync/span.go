package sync

import "fmt"

// spanRows is how many rows of a side a span should have. Of a difference a run holds at most this many entries of 32
// bytes in memory. The warehouse needs about 450 MiB to hash this many customers with two identifiers and one trait each,
// and about 250 MiB for half of them, but reads its tables once for each span (measured). When it has less memory, spans
// are cut in halves.
const spanRows = 1_000_000

// idSpace is the number of different first 32 bits of an id. Version 5 UUIDs fill it evenly.
const idSpace = 1 << 32

// span is a part of the id space: ids whose first 32 bits are low or more, and less than high.
type span struct{ low, high uint64 }

// whole is the span of all ids.
func whole() span { return span{0, idSpace} }

// spans cuts the id space into parts of about spanRows each.
func spans(rows uint64) []span {
	count := max(1, (rows+spanRows-1)/spanRows)
	parts := make([]span, count)
	for i := range count {
		parts[i] = span{i * idSpace / count, (i + 1) * idSpace / count}
	}
	return parts
}

// halves cuts a span in two; it says no when the span is so small that its size cannot be what is wrong.
func (s span) halves() (first, second span, ok bool) {
	middle := s.low + (s.high-s.low)/2
	return span{s.low, middle}, span{middle, s.high}, s.high-s.low > idSpace>>12
}

// condition selects the ids of a span; column is an expression of type String. It selects no claims, see claimPrefix.
func (s span) condition(column string) string {
	high := behind
	if s.high < idSpace {
		high = fmt.Sprintf("%08x", s.high)
	}
	return fmt.Sprintf("%s >= '%08x' AND %s < '%s'", column, s.low, column, high)
}

// behind follows every id: g is the letter after the last hexadecimal digit.
const behind = "g"
