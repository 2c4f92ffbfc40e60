package sync

import (
	"errors"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestDecide(t *testing.T) {
	want := &wanted{payload: 7}
	for _, c := range []struct {
		why  string
		want *wanted
		row  *heldRow
		is   action
	}{
		{"a new member is added", want, nil, add},
		{"what is held just so is left alone", want, &heldRow{status: statusDelivered, payload: 7}, nothing},
		{"another payload is sent", want, &heldRow{status: statusDelivered, payload: 8}, update},
		{"a refused payload is not sent again", want, &heldRow{status: statusRejected, payload: 7}, refused},
		{"a refused row with a new payload that never got in is an addition", want, &heldRow{status: statusRejected, payload: 8, never: true}, add},
		{"one that is there with an older payload is a change", want, &heldRow{status: statusRejected, payload: 8}, update},
		{"a member whose removal was refused comes back", want, &heldRow{status: statusRejected, payload: removal}, update},
		{"a pending row is sent though its hash is right: nobody knows what is held", want, &heldRow{status: statusPending, reason: "Updating", payload: 7}, update},
		{"a pending addition still counts as one", want, &heldRow{status: statusPending, reason: "Adding", payload: 7}, add},
		{"a member whose removal is pending is sent", want, &heldRow{status: statusPending, reason: "Removing", payload: removal}, update},
		{"nobody is nothing", nil, nil, nothing},
		{"who left is taken out", nil, &heldRow{status: statusDelivered, payload: 7}, remove},
		{"who may have been sent and left is taken out", nil, &heldRow{status: statusPending, reason: "Adding", payload: 7}, remove},
		{"who was refused and never held is forgotten", nil, &heldRow{status: statusRejected, payload: 7, never: true}, forget},
		{"who was refused a change is still held", nil, &heldRow{status: statusRejected, payload: 7}, remove},
		{"a refused removal is not sent again", nil, &heldRow{status: statusRejected, payload: removal}, refused},
	} {
		if got := (rule{mode: ModeMirror}).decide(c.want, c.row); got != c.is {
			t.Errorf("%s: got action %d, want %d", c.why, got, c.is)
		}
	}
}

// What the modes make of one and the same row.
func TestModesDecide(t *testing.T) {
	const here, there = 9, 8
	row := func(s status, payload, entry, holder uint64) *heldRow {
		return &heldRow{status: s, payload: payload, entry: entry, holder: holder}
	}
	for _, c := range []struct {
		why                               string
		want                              wanted
		row                               *heldRow
		mirror, addRemove, upsert, append action
	}{
		{"who enters is sent", wanted{payload: 7, entry: 3}, nil, add, add, add, add},
		{"a change is for those who follow changes", wanted{payload: 7, entry: 3, sent: 3}, row(statusDelivered, 6, 3, here), update, nothing, update, nothing},
		{"another entry is for those who follow entries", wanted{payload: 7, entry: 4, sent: 3}, row(statusDelivered, 7, 3, here), nothing, nothing, nothing, add},
		{"an entry that was sent under another id was sent", wanted{payload: 7, entry: 3, sent: 3}, nil, add, add, add, nothing},
		{"a refused change is none that AddRemove would have sent", wanted{payload: 7, entry: 3, sent: 3}, row(statusRejected, 7, 3, here), refused, nothing, refused, nothing},
		{"a refused addition is not asked for again", wanted{payload: 7, entry: 3}, row(statusRejected, 7, 0, 0), refused, refused, refused, refused},
		{"unless there is something else to send", wanted{payload: 8, entry: 3}, row(statusRejected, 7, 0, 0), update, update, update, add},
		{"who is held elsewhere is not here; payloads and entries have that in them", wanted{payload: 7, entry: 3}, row(statusDelivered, 6, 3, there), update, update, update, add},
		{"a member whose removal was refused comes back", wanted{payload: 7, entry: 3}, row(statusRejected, removal, 0, 0), update, update, update, add},
	} {
		for mode, want := range map[string]action{ModeMirror: c.mirror, ModeAddRemove: c.addRemove, ModeUpsert: c.upsert, ModeAppend: c.append} {
			if got := (rule{mode: mode, holder: here}).decide(&c.want, c.row); got != want {
				t.Errorf("%s: %s gives action %d, want %d", c.why, mode, got, want)
			}
		}
	}
}

func TestRecord(t *testing.T) {
	m := &member{wanted: wanted{id: someone(1).id, payload: 7, profile: 1, entry: 3}, identifiers: identifiers{"email": {"new"}}}
	held := &heldRow{id: m.id, profile: 1, payload: 6, entry: 2, holder: 4, status: statusDelivered, identifiers: identifiers{"email": {"old"}}}
	both := identifiers{"email": {"new", "old"}}
	version := func() uint64 { return 1 }
	for _, c := range []struct {
		why  string
		task task
		out  outcome
		want change
		none bool
	}{
		{why: "what was sent before and now was ever sent", task: newTask(update, m, held, nil, version), out: outcome{kind: delivered},
			want: change{heldRow: heldRow{id: m.id, profile: 1, payload: 7, entry: 3, holder: 5, status: statusDelivered, identifiers: both, version: 2}}},
		{why: "a refused change leaves what was held", task: newTask(update, m, held, nil, version), out: outcome{kind: rejected, reason: "X"},
			want: change{heldRow: heldRow{id: m.id, profile: 1, payload: 7, entry: 2, holder: 4, status: statusRejected, reason: "X", identifiers: held.identifiers, version: 2}}},
		{why: "a refused addition was never held", task: newTask(add, m, nil, nil, version), out: outcome{kind: rejected, reason: "X"},
			want: change{heldRow: heldRow{id: m.id, profile: 1, payload: 7, status: statusRejected, reason: "X", never: true, version: 2}}},
		{why: "what was taken out is gone", task: newTask(remove, nil, held, held.identifiers, version), out: outcome{kind: delivered},
			want: change{heldRow: heldRow{id: m.id, profile: 1, payload: removal, status: statusPending, identifiers: held.identifiers, version: 2}, deleted: true}},
		{why: "what is pending stands in the table already", task: newTask(update, m, held, nil, version), out: outcome{kind: pending}, none: true},
	} {
		got, ok := c.task.record(c.out, 2, 5)
		if ok == c.none {
			t.Errorf("%s: recorded: %v", c.why, ok)
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(change{}, heldRow{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
	}
}

func TestIdentifiersOfNeverHeldRows(t *testing.T) {
	for _, row := range []heldRow{{never: true}, {}, {identifiers: identifiers{"email": {"a", "b"}}}} {
		var read heldRow
		if err := read.decodeIdentifiers(row.encodeIdentifiers()); err != nil {
			t.Fatal(err)
		}
		if read.never != row.never || len(read.identifiers) != len(row.identifiers) {
			t.Errorf("%+v was read as %+v: who was never held must not be mistaken for who was held without identifiers", row, read)
		}
	}
}

func TestDifference(t *testing.T) {
	id := func(n byte) uuid.UUID { return uuid.UUID{n} }
	members := []wanted{{id: id(1), payload: 1}, {id: id(2), payload: 2}, {id: id(2), payload: 9}, {id: id(4), payload: 4}, {id: id(5), payload: 5}, {id: id(6), payload: 6}, {id: id(9), payload: 9}}
	rows := []heldRow{
		{id: id(0), payload: 1, status: statusDelivered}, // no member: not this comparison's business
		{id: id(2), payload: 2, status: statusDelivered},
		{id: id(3), payload: 3, status: statusDelivered},
		{id: id(4), payload: 3, status: statusDelivered},
		{id: id(5), payload: 5, status: statusRejected, reason: "X"},
		{id: id(6), payload: 6, status: statusPending},
	}
	var sent, refused []byte
	err := (rule{mode: ModeMirror}).difference(sequence(members, nil), sequence(rows, nil),
		func(w wanted) { sent = append(sent, w.id[0]) }, func(f heldRow) { refused = append(refused, f.id[0]) })
	if err != nil || !cmp.Equal(sent, []byte{1, 4, 6, 9}) || !cmp.Equal(refused, []byte{5}) {
		t.Errorf("sent %v, refused %v, error %v; want [1 4 6 9], [5]", sent, refused, err)
	}
	broken := errors.New("broken off")
	for _, c := range []struct {
		members iter.Seq2[wanted, error]
		rows    iter.Seq2[heldRow, error]
	}{{sequence(members, broken), sequence(rows, nil)}, {sequence(members, nil), sequence(rows, broken)}} {
		if err := (rule{mode: ModeMirror}).difference(c.members, c.rows, func(wanted) {}, func(heldRow) {}); !errors.Is(err, broken) {
			t.Errorf("a side that broke off gives %v: the rest would be taken for the difference", err)
		}
	}
}

// sequence yields values and then, if there is one, an error.
func sequence[T any](values []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

func TestSpansCoverEveryIDOnce(t *testing.T) {
	for _, rows := range []uint64{0, 1, spanRows, spanRows + 1, 7*spanRows + 3} {
		parts := spans(rows)
		if want := max(1, int((rows+spanRows-1)/spanRows)); len(parts) != want {
			t.Errorf("%d rows are cut into %d spans, want %d", rows, len(parts), want)
		}
		first, second, _ := parts[len(parts)-1].halves()
		parts = append(parts[:len(parts)-1], first, second)
		if parts[0].low != 0 || parts[len(parts)-1].high != idSpace {
			t.Errorf("the spans %v do not cover all ids", parts)
		}
		for i := range len(parts) - 1 {
			if parts[i].high != parts[i+1].low {
				t.Errorf("the spans %v leave ids out or have some twice", parts)
			}
		}
	}
	for part, want := range map[span]string{
		whole():                  "id >= '00000000' AND id < 'g'",
		{1 << 31, 3 << 30}:       "id >= '80000000' AND id < 'c0000000'",
		{1, idSpace>>12 + 1<<12}: "id >= '00000001' AND id < '00101000'",
	} {
		if got := part.condition("id"); got != want {
			t.Errorf("%v selects %s, want %s", part, got, want)
		}
	}
	if _, _, ok := (span{0, idSpace >> 12}).halves(); ok {
		t.Error("cutting spans does not end")
	}
}
