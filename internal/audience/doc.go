// Package audience knows what an Audience means: whether its rule makes sense, and which SQL asks for its members.
//
// It is pure. [Validate] answers for the operator and the engine alike, [Compile] writes the statement that computes
// every due audience of a Platform in one pass over its events; package membership, below this one, runs it.
//
// A rule is a boolean expression over criteria. Each criterion has an answer for every profile, also for one that
// nothing is known of; a rule that such an empty profile satisfies is refused, because its members would be everybody
// who was never seen.
package audience
