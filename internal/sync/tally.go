package sync

import (
	"cmp"
	"maps"
	"slices"

	"kohort.dev/kohort/internal/run"
)

// topRejections is how many reasons a status keeps.
const topRejections = 10

// tally counts how the rows of the difference ended, each in exactly one way.
type tally struct {
	added, updated, removed, pending int64
	lastPending                      string // why the newest pending row is so
	rejections                       map[string]run.Rejection
}

func newTally() *tally { return &tally{rejections: map[string]run.Rejection{}} }

// end counts a task that has ended.
func (t *tally) end(a action, o outcome) {
	switch {
	case o.kind == pending:
		t.pending++
		t.lastPending = o.reason
	case o.kind == rejected:
		t.reject(o.reason, o.message)
	case a == add:
		t.added++
	case a == update:
		t.updated++
	case a == remove:
		t.removed++
	}
}

// leave counts rows that were not tried.
func (t *tally) leave(rows int) { t.pending += int64(rows) }

// reject counts a rejected row, now or in an earlier run; an earlier one has no message any more.
func (t *tally) reject(reason, message string) {
	r := t.rejections[reason]
	r.Reason, r.Count = reason, r.Count+1
	if r.Example == "" {
		r.Example = message
	}
	t.rejections[reason] = r
}

// rejected counts rejected rows of all reasons.
func (t *tally) rejected() (count int64) {
	for _, r := range t.rejections {
		count += r.Count
	}
	return count
}

// report fills the part of a report that is counted.
func (t *tally) report(report *run.Report) {
	report.Added, report.Updated, report.Removed, report.Pending = t.added, t.updated, t.removed, t.pending
	report.Rejected = t.rejected()
	top := slices.SortedFunc(maps.Values(t.rejections), func(x, y run.Rejection) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Reason, y.Reason))
	})
	report.Rejections = top[:min(len(top), topRejections)]
}
