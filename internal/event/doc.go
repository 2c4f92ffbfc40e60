// Package event knows what an event is: it takes the messages of the stream apart into events, and into rejections for
// what cannot be one.
//
// The wire format is Segment's HTTP tracking API (https://segment.com/docs/connections/spec/common/ and
// https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/), as the SDKs send it: one event, or a
// batch whose context and sentAt hold for each item. Parsing is pure, walks the JSON once per level, copies no value and
// encodes none again: properties and context of an [Event] are the bytes that arrived.
//
// One bad item harms nobody else: it becomes a [Rejection] with the whole original, for quarantine.
package event
