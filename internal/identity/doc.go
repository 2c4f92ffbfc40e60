// Package identity knows who is who: which identifiers make two events one customer's, and what a customer is called.
//
// The matching is flat, after Segment's (https://segment.com/docs/unify/identity-resolution/identity-resolution-settings/):
// of the identifiers of an event none known makes a profile, one known profile takes the others, several are merged. A
// limit that would be broken leaves the event's identifier of the lowest priority out, and the match is tried again.
//
// Without limits the profiles are the connected components of the identifiers seen together, whatever the order,
// repetition or batching of events. With limits they depend on the order of arrival, by construction.
//
// A profile has two names. Its ordinal is a dense number, for the warehouse's sets; merging keeps the lowest. Its public
// id is the least, over all its identifiers, of (priority of the type, UUIDv5 of type and value): a pure function of the
// set of identifiers, stable once a customer's most important one is known.
//
// An anonymousId that several users log in with tells nobody apart any more; see guestsOf.
//
// What a person has cut apart stays apart; see [Cut].
//
// [Resolver] is the decision, in memory and without I/O of its own; [Store] is what it needs to be told; [Warehouse] tells
// it from ClickHouse.
package identity
