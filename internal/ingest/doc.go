// Package ingest takes the stream into the warehouse, effectively once: it plans a batch, parses and deduplicates its
// events, resolves whose they are, and inserts what follows from them. Ingest's comment says why a crash at any point
// loses nothing and doubles nothing.
package ingest
