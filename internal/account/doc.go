// Package account knows the accounts of a Platform: companies, households, teams, whatever the sources' group events
// name. An account has traits of its own, and customers as members. Which customers those are follows every merge, for a
// member is resolved when it is read.
//
// The events: https://segment.com/docs/connections/spec/group/.
package account
