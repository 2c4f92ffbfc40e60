package source

import "github.com/cespare/xxhash/v2"

// occurrences tells equal rows of one result apart: the first is 0, the next 1. Its memory does not grow with the number
// of rows but with that of equal ones. A Bloom filter of 2^28 bits (32 MiB) says which rows may have come before; at a
// million rows it errs once in 20 million, at 20 million once in 200. Rows that may have come before are counted exactly.
type occurrences struct {
	seen  []uint64
	again map[uint64]uint32
}

const (
	filterBits = 1 << 28
	// maxAgain bounds the count to about 100 MB; equal rows beyond it count as second ones.
	maxAgain = 4 << 20
)

func newOccurrences() *occurrences {
	return &occurrences{seen: make([]uint64, filterBits/64), again: map[uint64]uint32{}}
}

// next is how often the row came before. An error of the filter makes a row that is new a second one, which is harmless
// but for an id that another order of the rows would not give.
func (o *occurrences) next(row string) uint32 {
	hash := xxhash.Sum64String(row) // not seeded: every run must come to the same count
	before := true
	for i, step := uint64(0), hash>>32|1; i < 4; i++ { // four bits by double hashing (Kirsch and Mitzenmacher, 2006)
		bit := (hash + i*step) % filterBits
		word, mask := bit/64, uint64(1)<<(bit%64)
		before = before && o.seen[word]&mask != 0
		o.seen[word] |= mask
	}
	if !before {
		return 0
	}
	if len(o.again) >= maxAgain {
		if _, counted := o.again[hash]; !counted {
			return 1
		}
	}
	o.again[hash]++
	return o.again[hash]
}
