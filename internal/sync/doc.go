// Package sync keeps a destination equal to an audience.
//
// # A run
//
// The warehouse's table sync_state says, per Sync and customer, what the destination holds. A run compares it with the
// audience's members and delivers the difference, removals first:
//
//	claim ─ wait for the audience ─ removals ─ pending rows ─ additions and changes ─ count ─ release
//
// Both sides of the comparison are read in spans of the id space, ordered by id, so that memory is bounded whatever the
// size of the audience. The difference carries hashes only; what is sent is read anew for each chunk, together with the
// hash that is recorded for it.
//
// # Modes
//
// What a run makes of the difference is decided in one place, rule.decide, from the member and the row. Each row records
// what was sent (a hash of it), for which entry into the audience, and to which holder, in every mode: so a Sync whose
// mode changes goes on from there. Entries are compared by customer and not by id, for Append: an id changes, and
// whoever has another one has not entered again. Who is known to the Platform no longer is taken out in each mode.
//
// # What a crash leaves
//
// Before a chunk is sent its rows are recorded as pending: from then on nobody knows whether the destination holds the
// old or the new. After each page (one request) the rows are recorded as delivered or rejected. A run that finds a
// pending row sends it again if the customer is a member, and takes it out if not, whatever its hash. So the worst that
// a kill at any moment costs is one page sent twice, under the same Idempotency-Key if it is the same slot; and a
// customer who was sent, not recorded, and then left the audience is taken out all the same.
//
// # Removals before additions
//
// When two profiles are merged, or the id of one changes, a row leaves under the old id and one enters under the new id
// with the same identifiers. A destination that keys by identifier would lose the customer if the removal came last, and
// one with a unique key on an identifier would refuse the addition if the removal did not come first. So removals come
// first; and for the customer not to be missing in between, the row that now owns an identifier of a removed one is
// sent in the same request, right after it, if it has to be sent at all. If it has not, because the destination already
// holds the identifier under the other id, the removal leaves that identifier out.
//
// # One run at a time
//
// The operator sees to it: one Job per Sync at a time, and with podReplacementPolicy: Failed a pod is replaced only when
// it has ended. Where that fails (a pod deleted by force on a machine that was cut off), the claim in claim.go stops the
// older run before the newer one begins to send.
package sync
