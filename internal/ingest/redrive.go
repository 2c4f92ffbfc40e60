package ingest

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/warehouse"
)

// redriven takes out of a batch what rows of quarantine bring that were let in before, by an earlier message or earlier in
// the batch, and gives the rows that are let in now and how many events and rejections went. A replay decides the same.
//
// So a redrive may send a row as often as it likes, also beyond the window of deduplication.
func (w *writer) redriven(ctx context.Context, p plan, b *batch) (rows []event.Redriven, again int, err error) {
	var all []*event.Redriven
	seen := map[*event.Redriven]struct{}{}
	note := func(r *event.Redriven) {
		if _, is := seen[r]; r != nil && !is {
			seen[r] = struct{}{}
			all = append(all, r)
		}
	}
	for i := range b.Events {
		note(b.Events[i].Redriven)
	}
	for i := range b.Rejections {
		note(b.Rejections[i].Redriven)
	}
	for _, r := range b.Emptied {
		note(r)
	}
	if len(all) == 0 {
		return nil, 0, nil
	}
	released, err := w.released(ctx, all, p.first)
	if err != nil {
		return nil, 0, err
	}
	// Events and rejections are two lists, each in the order of the stream.
	slices.SortStableFunc(all, func(a, b *event.Redriven) int { return cmp.Compare(a.Seq, b.Seq) })
	refused := map[*event.Redriven]struct{}{}
	for _, r := range all {
		if _, is := released[r.ID]; is {
			refused[r] = struct{}{}
			continue
		}
		released[r.ID] = struct{}{}
		rows = append(rows, *r)
	}
	before := len(b.Events) + len(b.Rejections)
	is := func(r *event.Redriven) bool { _, is := refused[r]; return r != nil && is }
	b.Events = slices.DeleteFunc(b.Events, func(e event.Event) bool { return is(e.Redriven) })
	b.Rejections = slices.DeleteFunc(b.Rejections, func(r event.Rejection) bool { return is(r.Redriven) })
	return rows, before - len(b.Events) - len(b.Rejections), nil
}

// released gives which rows were let in by a message before first.
func (w *writer) released(ctx context.Context, all []*event.Redriven, first uint64) (map[[16]byte]struct{}, error) {
	found := map[[16]byte]struct{}{}
	for part := range slices.Chunk(all, hashesPerQuery) {
		list := make([]string, len(part))
		for i, r := range part {
			list[i] = "unhex('" + hex.EncodeToString(r.ID[:]) + "')"
		}
		rows, err := w.conn.Query(ctx, fmt.Sprintf("SELECT DISTINCT id FROM quarantine_released WHERE id IN (%s) AND seq < %d", strings.Join(list, ","), first))
		if err != nil {
			return nil, fmt.Errorf("looking up %d rows of quarantine: %w", len(part), err)
		}
		for rows.Next() {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				_ = rows.Close()
				return nil, fmt.Errorf("looking up rows of quarantine: %w", err)
			}
			found[[16]byte(id)] = struct{}{}
		}
		err = rows.Err()
		_ = rows.Close()
		if err != nil {
			return nil, fmt.Errorf("looking up %d rows of quarantine: %w", len(part), err)
		}
	}
	return found, nil
}

func releasedRows(r []event.Redriven) table {
	return table{"quarantine_released", true, []warehouse.Column{
		column("id", typeHash, r, func(r *event.Redriven) [16]byte { return r.ID }),
		column("received", typeMillis, r, func(r *event.Redriven) time.Time { return r.Received }),
		column("seq", typeUInt64, r, func(r *event.Redriven) uint64 { return r.Seq }),
	}}
}
