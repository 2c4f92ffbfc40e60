package identity

import (
	"context"
	"slices"
)

// forest holds rows of profile_overrides by profile: trees of merges, which can be looked at as of any version.
type forest map[uint64]override

type override struct {
	Merge
	survivor uint64
	changed  uint64 // version of the row
}

// rootBefore is the profile that ordinal belonged to before a version.
func (f forest) rootBefore(ordinal, before uint64) uint64 {
	for {
		o, merged := f[ordinal]
		switch {
		case !merged || o.Version >= before:
			return ordinal // not merged by then
		case o.changed < before:
			return o.survivor // as it was
		}
		ordinal = o.Parent // merged by then, and its survivor was merged later
	}
}

func (f forest) sorted() []override {
	out := make([]override, 0, len(f))
	for _, o := range f {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b override) int {
		if a.Ordinal < b.Ordinal {
			return -1
		}
		return 1
	})
	return out
}

// loadForest reads the whole trees that ordinals are in now. Each is one step deep, so two queries do; the trees before
// any version are parts of them.
func (w *Warehouse) loadForest(ctx context.Context, f forest, ordinals []uint64) error {
	if err := w.loadOverrides(ctx, f, "profile", ordinals); err != nil {
		return err
	}
	roots := map[uint64]struct{}{}
	for _, ordinal := range ordinals {
		root := ordinal
		if o, merged := f[ordinal]; merged {
			root = o.survivor
		}
		roots[root] = struct{}{}
	}
	for part := range slices.Chunk(keys(roots), chunk) {
		if err := w.loadOverrides(ctx, f, "survivor", part); err != nil {
			return err
		}
	}
	return nil
}

func (w *Warehouse) loadOverrides(ctx context.Context, f forest, column string, ordinals []uint64) error {
	rows, err := w.conn.Query(ctx, "SELECT profile, survivor, parent, merged, version FROM profile_overrides FINAL WHERE "+
		column+" IN ("+list(ordinals, number)+")")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var o override
		if err := rows.Scan(&o.Ordinal, &o.survivor, &o.Parent, &o.Version, &o.changed); err != nil {
			return err
		}
		f[o.Ordinal] = o
	}
	return rows.Err()
}
