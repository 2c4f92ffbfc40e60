// Package mapping makes events of the records of a Source with the Bloblang mapping of spec.mapping: when a record is read,
// and again from quarantine, after the mapping was corrected.
package mapping
