package sync

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"kohort.dev/kohort/internal/destination"
)

// The limits of a page: what is sent at once, and recorded at once.
const (
	// maxPageRows is the contract with webhooks (docs/destinations/webhook.md).
	maxPageRows = 500
	// pageBytes keeps a page below the request limits of common servers, with room for what JSON adds.
	pageBytes = 2 << 20
)

// task is one row to send.
type task struct {
	action action
	want   *member  // nil for a removal
	prior  *heldRow // what was recorded before the run got to it; nil: nothing
	// intent is what is recorded before sending.
	intent heldRow
	op     destination.Operation
}

// newTask makes the task of an action that sends something. A removal names the identifiers in names. version is used if
// what is to be recorded is not recorded yet: a row that is pending for the same payload stays as it is, so that sending
// it again has the same key.
func newTask(action action, want *member, prior *heldRow, names identifiers, version func() uint64) task {
	t := task{action: action, want: want, prior: prior}
	t.intent = heldRow{status: statusPending, reason: action.reason(), payload: removal}
	if prior != nil {
		t.intent.id, t.intent.profile, t.intent.identifiers = prior.id, prior.profile, prior.identifiers
		if want != nil {
			t.intent.entry, t.intent.holder = prior.entry, prior.holder
		}
	}
	if want == nil {
		t.op = destination.Operation{Op: destination.OpRemove, ID: prior.id.String(), Identifiers: names}
	} else {
		t.intent.id, t.intent.profile, t.intent.payload = want.id, want.profile, want.payload
		t.intent.identifiers = t.intent.identifiers.with(want.identifiers)
		if action == add {
			t.intent.entry = want.entry
		}
		t.op = destination.Operation{Op: destination.OpUpsert, ID: want.id.String(), Identifiers: want.identifiers, Traits: want.traits}
	}
	if t.op.Identifiers == nil {
		t.op.Identifiers = identifiers{}
	}
	if t.recorded() {
		t.intent.version = prior.version
	} else {
		t.intent.version = version()
	}
	t.op.New, t.op.Version = action == add, t.intent.version
	return t
}

// recorded says whether the intent stands in the table already.
func (t *task) recorded() bool {
	return t.prior != nil && t.prior.status == statusPending && t.prior.payload == t.intent.payload &&
		t.prior.entry == t.intent.entry && t.prior.reason == t.intent.reason
}

// size estimates the bytes of the task's JSON.
func (t *task) size() int {
	size := 100
	for kind, values := range t.op.Identifiers {
		size += len(kind) + 8
		for _, value := range values {
			size += len(value) + 4
		}
	}
	for field, value := range t.op.Traits {
		size += len(field) + len(value) + 8
	}
	return size
}

// pages cuts tasks, in their order, into pages of at most so many rows and pageBytes. A task larger than that has a page
// of its own.
func pages(tasks []task, rows int) [][]task {
	var all [][]task
	start, bytes := 0, 0
	for i := range tasks {
		size := tasks[i].size()
		if i > start && (i-start == rows || bytes+size > pageBytes) {
			all = append(all, tasks[start:i])
			start, bytes = i, 0
		}
		bytes += size
	}
	if start < len(tasks) {
		all = append(all, tasks[start:])
	}
	return all
}

// batch makes what a destination is handed. Its key is <sync>/<slot>/<page>, where page is a hash of the ids and the
// versions of the intents: the same rows sent again for the same reason have the same key, also after a crash, and rows
// whose payload has changed since never do.
func batch(sync string, slot time.Time, tasks []task) destination.Batch {
	hash := sha256.New()
	operations := make([]destination.Operation, len(tasks))
	for i := range tasks {
		operations[i] = tasks[i].op
		_, _ = hash.Write(tasks[i].intent.id[:]) // a hash takes everything
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, tasks[i].intent.version))
	}
	page := hex.EncodeToString(hash.Sum(nil)[:8])
	return destination.Batch{Key: fmt.Sprintf("%s/%d/%s", sync, slot.Unix(), page), Operations: operations}
}

// outcome tells how a task ended.
type outcome struct {
	kind    outcomeKind
	reason  string // of a rejection or of what is pending
	message string // of a rejection, without personal data
}

type outcomeKind uint8

const (
	pending outcomeKind = iota
	delivered
	rejected
)

// record gives what to write about a task that has ended, and whether there is anything: pending is recorded already.
// holder is that of the run's rule.
func (t *task) record(o outcome, version, holder uint64) (change, bool) {
	row := t.intent
	row.version, row.reason = version, ""
	switch {
	case o.kind == pending:
		return change{}, false
	case o.kind == delivered && t.action == remove:
		return change{heldRow: row, deleted: true}, true
	case o.kind == delivered:
		row.status, row.entry, row.holder = statusDelivered, t.want.entry, holder
		return change{heldRow: row}, true
	}
	row.status, row.reason = statusRejected, o.reason
	if t.action == add {
		row.entry = 0
	}
	// The destination holds what it held before: the new identifiers did not get in.
	row.identifiers = nil
	row.never = t.prior == nil || t.prior.never
	if !row.never {
		row.identifiers = t.prior.identifiers
	}
	return change{heldRow: row}, true
}
