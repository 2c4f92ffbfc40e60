// Package soak kills everything that an event passes, again and again under load, and counts what is left: collector,
// stream, engine's ingestion and warehouse, each in a process of its own, as in a cluster. "make soak" does so for as many
// rounds as ROUNDS says.
package soak
