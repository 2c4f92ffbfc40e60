// Package destination puts members of audiences into other systems and takes them out again.
//
// A Destination is handed batches of operations and answers for each row whether it was delivered or rejected. It does
// not retry: what went wrong with a batch as a whole is told by the kind of the error, and the caller, package sync,
// has the one retry policy.
package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Reasons of failed runs that concern destinations. Those that other packages use too stand in
// api/v1alpha1/conditions.go under the same words; docs/destinations.md has the remedy of each.
const (
	// ReasonUnreachable : no connection, a refused login, or an answer that is not the destination's.
	ReasonUnreachable = "DestinationUnreachable"
	// ReasonSecretNotFound : the file of a Secret's key is missing or empty.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonInvalidSpec : a field of the Destination cannot be used; the message names it.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonTableMismatch : the table is there and has other columns than a Destination needs.
	ReasonTableMismatch = "TableMismatch"
)

// Op says what to do with a row.
type Op string

// Ops.
const (
	// OpUpsert : the row is there afterwards, with exactly this payload.
	OpUpsert Op = "upsert"
	// OpRemove : the row is not there afterwards. Removing what is not there is no error.
	OpRemove Op = "remove"
)

// Operation is one row of a batch.
type Operation struct {
	Op Op `json:"op"`
	// ID is the public id of the profile, a UUID in lower case: the key of the row.
	ID string `json:"id"`
	// Identifiers by type, sorted. A removal has every one that was ever sent, except those that another row now holds.
	Identifiers map[string][]string `json:"identifiers"`
	// Traits by field name; a field that the customer has no value for is null. Absent in removals.
	Traits map[string]json.RawMessage `json:"traits,omitempty"`
	// Entry tells the entries of a customer apart, each larger than the one before: the same row with the same Entry is sent
	// again because nobody knows whether it arrived. 0 but in mode Append.
	Entry uint64 `json:"entry,omitempty"`
	// New : the destination does not hold the row yet, as far as is known. A row that was about to be sent when a run
	// ended is new still.
	New bool `json:"-"`
	// Version is the same whenever this operation is tried again, and larger in every later one of the row.
	Version uint64 `json:"-"`
}

// Batch is what is delivered at once: in one request, or in one transaction.
type Batch struct {
	// Key is the same whenever the same operations are tried again, and different for any others.
	Key string
	// Operations, in the order in which they have to take effect. No id is there twice.
	Operations []Operation
}

// Result tells how one row of a batch ended. The zero value is: delivered.
type Result struct {
	// Rejected : the destination will not take this row as it is.
	Rejected bool
	// Reason of a rejection in one CamelCase word.
	Reason string
	// Message of a rejection, without personal data.
	Message string
}

// Destination holds members of audiences. Deliver is not called concurrently.
type Destination interface {
	// Deliver puts a batch into effect and gives one Result per operation, in their order. It fails with
	//   - *UnavailableError when the same batch may go through later,
	//   - *RefusedError when the destination refuses the batch for what is in it,
	//   - a *run.Failure, or anything else, when no batch can go through until a person has changed something.
	// After an error any part of the batch may be in effect.
	Deliver(ctx context.Context, batch Batch) ([]Result, error)
	// Holder names where the rows are held, without credentials. Rows delivered to one holder are not at another.
	Holder() string
	// Close frees connections.
	Close() error
}

// Completion is what a destination is told of a run that has delivered everything.
type Completion struct {
	Revision int64 // of the audience; 0 when everybody was taken out
	Members  int64 // that the destination holds
}

// Completer is a Destination that tells its readers up to where it is whole. Complete may fail as Deliver does.
type Completer interface {
	Complete(ctx context.Context, completion Completion) error
}

// UnavailableError says that a batch may go through later.
type UnavailableError struct {
	// After is how long the destination asked to be left alone; 0 when it did not say.
	After time.Duration
	// Overloaded : the destination answers but has too much to do, so that a smaller batch does not help.
	Overloaded bool
	// Unconnected : nothing answered, so that a smaller batch does not help.
	Unconnected bool
	// Err says what happened and what to look at, without personal data or credentials.
	Err error
}

// Error gives the message for people.
func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// RefusedError says that the destination refuses a batch for what is in it, without naming the row. A batch of one that
// is refused is a rejected row.
type RefusedError struct {
	Reason  string // one CamelCase word
	Message string // without personal data
}

// Error gives the message for people.
func (e *RefusedError) Error() string { return fmt.Sprintf("refused (%s): %s", e.Reason, e.Message) }
