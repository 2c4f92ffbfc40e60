// Package source reads what a touchpoint keeps in files or in a database, maps each record to events and publishes them.
//
// A run reads the whole source once. It keeps a cursor, so that the next run reads what is new, and writes it only after
// every event was acknowledged: a run that ends halfway is done again. Message ids are made of where a record stands and
// what it holds, so that what is read twice is stored once. One record that cannot be used harms no other: it goes to
// quarantine with its original and the reason.
package source
