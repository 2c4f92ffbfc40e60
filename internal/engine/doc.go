// Package engine wires the data plane of one Platform together: it reads the Platform, Sources, Audiences and
// RetentionPolicies of its namespace, runs ingestion, evaluation and retention as they ask, and writes into their status
// what it sees.
//
// One process of a Platform leads and does all of that; the others wait for its lease and serve profiles, as it does.
// Nothing in here ends because the store or the stream is away: it waits, says so in /readyz, and goes on.
package engine
