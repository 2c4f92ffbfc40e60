// Package unmerge undoes merges: it asks that an identifier be cut out of its profile, says beforehand what that would
// change, and knows which rows of the warehouse go where.
//
// A request is a message of the stream, so it has a place among the events, and a replay finds it in the same one. Ingestion
// takes it by itself: it decides what moves ([identity.Decide]) and records that before anything moves, so that a crash at
// any point is recovered from by doing the rest. What a row belongs to is decided from the row alone, by the rule by which
// it would belong to somebody had it come after the cut: the identifier of the highest priority.
package unmerge
