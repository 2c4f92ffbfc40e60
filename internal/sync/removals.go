package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"kohort.dev/kohort/internal/profile"
)

// ownerBytes bounds the text of one question for the owners of identifiers; the store takes queries of 256 KiB.
const ownerBytes = 64 << 10

// removeLeavers takes out the rows in a span that the destination is no longer to hold, those first that an earlier run
// could not.
func (s *session) removeLeavers(ctx context.Context, part span) error {
	condition := "id NOT IN (SELECT id FROM (" + idsSQL + "profile IN (" + s.audience.membersSQL() + ")))"
	if !s.rule.takesOut() {
		condition = s.audience.goneSQL()
	}
	ids, err := s.state.ids(ctx, part, condition, s.audience.args()...)
	if err != nil {
		return err
	}
	// Half a page leaves room for the rows that take the place of removed ones.
	for chunk := range slices.Chunk(ids, max(1, s.PageRows/2)) {
		if err := s.removeChunk(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// goneSQL selects the rows of customers whom the Platform knows no longer, for they were erased, or expired, and of those who
// are suppressed. Who was merged into another, or got another id, is not gone.
func (a *audience) goneSQL() string {
	root := profile.Root("h")
	gone, byID := root+" NOT IN (SELECT profile FROM profiles)", "id NOT IN (SELECT id FROM profiles FINAL)"
	if len(a.suppress) > 0 {
		gone += " OR " + root + " IN (" + suppressedSQL() + ")"
		byID += " OR id IN (SELECT id FROM (" + idsSQL + "profile IN (" + suppressedSQL() + ")))"
	}
	return "if(profile = 0, " + byID + ", profile IN (SELECT h.profile FROM (SELECT DISTINCT profile FROM sync_state WHERE sync = @sync) AS h " +
		profile.Join("h") + " WHERE " + gone + "))"
}

// removeAll takes out every row in a span, also those whose removal was refused before.
func (s *session) removeAll(ctx context.Context, part span) error {
	ids, err := s.state.ids(ctx, part, "1")
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(ids, s.PageRows) {
		rows, err := s.state.load(ctx, chunk)
		if err != nil {
			return err
		}
		var tasks []task
		var forgotten []change
		for _, id := range chunk {
			row := rows[id]
			switch decideRemoval(row) {
			case nothing:
			case forget:
				forgotten = append(forgotten, s.forgotten(row))
			default:
				tasks = append(tasks, newTask(remove, nil, row, row.identifiers, s.state.version))
			}
		}
		if err := s.state.save(ctx, forgotten); err != nil {
			return err
		}
		if err := s.deliver(ctx, tasks); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) forgotten(row *heldRow) change {
	return change{heldRow: heldRow{id: row.id, status: row.status, version: s.state.version()}, deleted: true}
}

// removeChunk takes out rows and sends those that take their place.
func (s *session) removeChunk(ctx context.Context, ids []uuid.UUID) error {
	rows, err := s.state.load(ctx, ids)
	if err != nil {
		return err
	}
	var leaving []*heldRow
	var forgotten []change
	for _, id := range ids {
		row := rows[id]
		switch decideRemoval(row) {
		case remove:
			leaving = append(leaving, row)
		case forget:
			forgotten = append(forgotten, s.forgotten(row))
		case refused:
			s.tally.reject(row.reason, "")
		}
	}
	if err := s.state.save(ctx, forgotten); err != nil {
		return err
	}
	if s.sender.isDone() {
		s.tally.leave(len(leaving))
		return nil
	}
	tasks, err := s.replace(ctx, leaving)
	if err != nil {
		return err
	}
	return s.deliver(ctx, tasks)
}

// replace makes the tasks of rows that leave: each removal, and then the members that own its identifiers now and have
// to be sent. See the package's documentation.
func (s *session) replace(ctx context.Context, leaving []*heldRow) ([]task, error) {
	owners, err := s.owners(ctx, leaving)
	if err != nil {
		return nil, err
	}
	heirs, rows, err := s.heirs(ctx, owners)
	if err != nil {
		return nil, err
	}
	var removals, entries []task
	sent := map[uuid.UUID]bool{}
	for _, row := range leaving {
		names := row.identifiers
		// In a fixed order: the same rows make the same page when they are sent again.
		for _, kind := range slices.Sorted(maps.Keys(row.identifiers)) {
			for _, value := range row.identifiers[kind] {
				heir := heirs[owners[identifier{kind, value}]]
				if heir == nil || !heir.identifiers.has(kind, value) {
					continue
				}
				switch action := s.inherit(heir, rows[heir.id], kind, value); action {
				case nothing: // the destination holds the identifier under the heir's id, and must keep it
					names = names.without(kind, value)
				case add, update:
					if !sent[heir.id] && !s.given[heir.id] {
						sent[heir.id] = true
						entries = append(entries, s.entryTask(action, heir, rows[heir.id]))
					}
				}
			}
		}
		removals = append(removals, newTask(remove, nil, row, names, s.state.version))
	}
	return append(removals, entries...), nil
}

// inherit says what to do about a member who owns an identifier of a row that is taken out. One who needs nothing, and under
// whose id the destination does not hold the identifier yet, is sent nevertheless: it would be lost with the removal.
// Append has another word for that: entries are sent by themselves. So has a run that may not add anybody.
func (s *session) inherit(heir *member, row *heldRow, kind, value string) action {
	holds := row != nil && row.isHeld() && row.identifiers.has(kind, value)
	if s.rule.mode == ModeAppend || s.held {
		if holds {
			return nothing
		}
		return refused
	}
	action := s.rule.decide(&heir.wanted, row)
	if action == nothing && !holds {
		return update
	}
	return action
}

// identifier is a type and a value.
type identifier struct{ kind, value string }

// owners looks up whose the identifiers of rows are now: surviving ordinals. Those that nobody owns are left out.
func (s *session) owners(ctx context.Context, rows []*heldRow) (map[identifier]uint64, error) {
	owners := map[identifier]uint64{}
	var asked []clickhouse.GroupSet
	bytes := 0
	flush := func() error {
		if len(asked) == 0 {
			return nil
		}
		if err := s.askOwners(ctx, asked, owners); err != nil {
			return fmt.Errorf("looking up the owners of %d identifiers: %w", len(asked), err)
		}
		asked, bytes = nil, 0
		return nil
	}
	for _, row := range rows {
		for kind, values := range row.identifiers {
			for _, value := range values {
				asked = append(asked, clickhouse.GroupSet{Value: []any{kind, value}})
				if bytes += 2*len(value) + len(kind) + 10; bytes > ownerBytes {
					if err := flush(); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return owners, flush()
}

func (s *session) askOwners(ctx context.Context, asked []clickhouse.GroupSet, owners map[identifier]uint64) error {
	return ask(ctx, func(ctx context.Context) error {
		rows, err := s.Warehouse.Query(ctx, "SELECT toString(i.type), i.value, "+profile.Root("i")+
			" FROM (SELECT type, value, profile FROM identities FINAL WHERE (type, value) IN (@asked)) AS i "+profile.Join("i"),
			clickhouse.Named("asked", asked))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells what went wrong
		for rows.Next() {
			var name identifier
			var owner uint64
			if err := rows.Scan(&name.kind, &name.value, &owner); err != nil {
				return err
			}
			owners[name] = owner
		}
		return rows.Err()
	})
}

// heirs loads those owners that are members, by ordinal, and their rows in the state.
func (s *session) heirs(ctx context.Context, owners map[identifier]uint64) (map[uint64]*member, map[uuid.UUID]*heldRow, error) {
	var profiles []uint64
	for _, owner := range owners {
		profiles = append(profiles, owner)
	}
	slices.Sort(profiles)
	heirs := map[uint64]*member{}
	rows := map[uuid.UUID]*heldRow{}
	for chunk := range slices.Chunk(slices.Compact(profiles), chunkPages*s.PageRows) {
		members, err := s.audience.load(ctx, chunk, true)
		if err != nil {
			return nil, nil, err
		}
		var ids []uuid.UUID
		for _, m := range members {
			heirs[m.profile] = m
			ids = append(ids, m.id)
		}
		held, err := s.state.load(ctx, ids)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(rows, held)
	}
	return heirs, rows, nil
}
