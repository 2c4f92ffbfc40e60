// Package trackingplan knows what events should look like: it compiles the tracking plan of a Source and judges events
// by it. It is pure.
//
// A schema is JSON Schema, bounded so that no event can make it costly: no remote reference, no reference to itself, at
// most [MaxSchema] bytes and [MaxExpanded] subschemas once its references are followed; patterns are RE2, which takes
// linear time.
package trackingplan
