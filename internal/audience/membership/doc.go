// Package membership keeps who is in which Audience: it runs the statement that package audience compiles, and writes
// what changed.
//
// One evaluation is one revision of each Audience that it changes, written in three steps whose order makes a crash
// between any two harmless:
//
//  1. membership_log gets a row per customer who entered or left, under the next revision. The difference to the stored
//     members is computed inside the warehouse.
//  2. memberships gets the same rows, read back from the log of that revision. Doing this twice changes nothing, for a
//     row's version is its revision.
//  3. audience_revisions gets a row: the revision is complete.
//
// A log with a revision that audience_revisions does not know is left over from a crash in step 1 or 2. The next
// evaluation first carries such rows on through steps 2 and 3, whether the log of that revision was whole or not, and
// then computes what still differs as a further revision. So the members are at every moment what the log of all
// complete revisions adds up to, and no change stands in the log twice. Trimming takes the beginning of that sum away.
//
// One process at a time may evaluate; the engine's lease sees to it.
package membership
