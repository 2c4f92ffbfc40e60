package identity

// recent remembers pairs that were seen lately, in 2 MiB: a new pair may push an old one out. It may forget, and then a
// pair is written again; it must not claim to have seen a pair that it has not, which 64 bits make unlikely enough for a
// log that only repeats what identities say.
type recent struct{ pairs []uint64 }

const recentPairs = 1 << 18

func newRecent() *recent { return &recent{pairs: make([]uint64, recentPairs)} }

// seen says whether the pair was seen before, and notes it.
func (r *recent) seen(a, b uint64) bool {
	const odd = 0x9E3779B97F4A7C15 // 2^64 over the golden ratio spreads the sum over all bits
	h := (a*odd ^ b) * odd
	if h == 0 {
		return false
	}
	p := &r.pairs[h>>(64-18)]
	if *p == h {
		return true
	}
	*p = h
	return false
}
