package sync

import (
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"kohort.dev/kohort/internal/run"
)

// chunkPages is how many pages of customers are read in full at once. Fewer would ask the warehouse more often, more
// would leave more rows pending when the run is killed.
const chunkPages = 4

// deliverPending sends the members that an earlier run left pending.
func (s *session) deliverPending(ctx context.Context) error {
	ids, err := s.state.ids(ctx, whole(), "status = 'pending'")
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(ids, chunkPages*s.PageRows) {
		if s.sender.isDone() {
			return nil // the difference counts them
		}
		// Those that are no members were to be taken out before, and are counted.
		profiles, err := s.audience.ordinals(ctx, chunk)
		if err != nil {
			return err
		}
		open := make([]wanted, len(profiles))
		for i, ordinal := range profiles {
			open[i].profile = ordinal
		}
		if err := s.deliverMembers(ctx, open); err != nil {
			return err
		}
	}
	return nil
}

// deliverDifference sends the members in a span that the destination does not hold as they are.
func (s *session) deliverDifference(ctx context.Context, part span) error {
	var changed []wanted
	var refusals []heldRow
	tooLarge := false
	err := ask(ctx, func(ctx context.Context) error {
		changed, refusals = changed[:0], refusals[:0]
		err := s.rule.difference(s.audience.hashes(ctx, part), s.state.rows(ctx, part),
			func(w wanted) { changed = append(changed, w) },
			func(row heldRow) { refusals = append(refusals, row) })
		if tooLarge = isOutOfMemory(err); tooLarge {
			return nil // asking again would not help
		}
		return err
	})
	if err != nil {
		return err
	}
	if tooLarge {
		return s.deliverHalves(ctx, part)
	}
	for _, row := range refusals {
		if !s.state.isOwn(row.version) { // what was refused in this run is counted
			s.tally.reject(row.reason, "")
		}
	}
	// In the order in which the warehouse has them, so that a chunk is read from few places.
	slices.SortFunc(changed, func(x, y wanted) int { return cmp.Compare(x.profile, y.profile) })
	for chunk := range slices.Chunk(changed, chunkPages*s.PageRows) {
		if err := s.deliverMembers(ctx, slices.DeleteFunc(chunk, func(w wanted) bool { return s.given[w.id] })); err != nil {
			return err
		}
	}
	return nil
}

// deliverHalves does in two steps what the warehouse has not the memory for in one.
func (s *session) deliverHalves(ctx context.Context, part span) error {
	first, second, ok := part.halves()
	if !ok {
		return run.Fail(reasonPlatformNotReady, "the store has not enough memory to compare even a small part of audience %s; raise spec.storage.embedded.resources of the Platform", s.audience.name)
	}
	if err := s.deliverDifference(ctx, first); err != nil {
		return err
	}
	return s.deliverDifference(ctx, second)
}

// deliverMembers reads members in full and sends those that have to be.
func (s *session) deliverMembers(ctx context.Context, chosen []wanted) error {
	if len(chosen) == 0 {
		return nil
	}
	if s.sender.isDone() {
		s.tally.leave(len(chosen))
		return nil
	}
	profiles := make([]uint64, len(chosen))
	sent := make(map[uint64]uint64, len(chosen)) // nothing but this run changes it
	for i, w := range chosen {
		profiles[i], sent[w.profile] = w.profile, w.sent
	}
	members, err := s.audience.load(ctx, profiles, false)
	if err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(members))
	for i, m := range members {
		ids[i], m.sent = m.id, sent[m.profile]
	}
	rows, err := s.state.load(ctx, ids)
	if err != nil {
		return err
	}
	var tasks []task
	for _, m := range members {
		switch action := s.rule.decide(&m.wanted, rows[m.id]); action {
		case add, update:
			tasks = append(tasks, s.entryTask(action, m, rows[m.id]))
		}
	}
	return s.deliver(ctx, tasks)
}

// entryTask makes the task of an addition or a change.
func (s *session) entryTask(action action, m *member, prior *heldRow) task {
	t := newTask(action, m, prior, nil, s.state.version)
	if s.rule.mode == ModeAppend {
		t.op.Entry = m.entry
	}
	return t
}
