// Package retention deletes what has reached its age, takes it off the disk, and counts what is left, so that "nothing
// is overdue" is an observation and not a hope.
package retention
