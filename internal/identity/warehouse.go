package identity

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/bits-and-blooms/bloom/v3"
	"github.com/cespare/xxhash/v2"

	"kohort.dev/kohort/internal/warehouse"
)

// Warehouse is the [Store] over the tables identities, profile_identifiers, profiles and profile_overrides.
//
// Rows of identities and profile_identifiers are written once and never change; what a later version added is told by
// its version. profile_overrides does change, when a survivor is merged itself, and keeps with parent and merged what is
// needed to see through that.
type Warehouse struct {
	conn  driver.Conn
	known *bloom.BloomFilter  // of identifiers: most new ones need no look-up
	count uint                // of what known holds
	limit uint                // that known is made for
	cuts  map[uint64][]CutEnd // by the ordinal that their identifiers are attached to
}

const (
	// A filter of 10 bits a key is wrong for one unknown key in a hundred.
	filterKeys  = 1_000_000
	filterError = 0.01
	// filterMost bounds the filter at 64 MiB; beyond 50 million identifiers it is wrong more often, which costs look-ups.
	filterMost = 50_000_000
	// chunk is how many keys one query names: 5,000 of 40 bytes are 200 kB of SQL.
	chunk = 5_000
)

// NewWarehouse reads which identifiers there are, 8 bytes for each.
func NewWarehouse(ctx context.Context, conn driver.Conn) (*Warehouse, error) {
	w := &Warehouse{conn: conn}
	if err := w.LearnCuts(ctx); err != nil {
		return nil, err
	}
	return w, w.learnAll(ctx)
}

// LearnCuts reads what was cut apart: some 30 bytes for each profile that a cut is about. It is to be called after each
// cut, and what a [Resolver] has cached is wrong then.
func (w *Warehouse) LearnCuts(ctx context.Context) error {
	cuts := map[uint64][]CutEnd{}
	err := warehouse.Each(ctx, w.conn, `SELECT DISTINCT i.profile AS profile, c.seq AS seq, c.role = 'against' AS against FROM identity_cuts AS c
		INNER JOIN (SELECT type, value, profile FROM identities FINAL WHERE (type, value) IN (SELECT type, value FROM identity_cuts)) AS i
		ON i.type = c.type AND i.value = c.value WHERE c.role IN ('cut', 'against') ORDER BY profile, seq, against`, func(rows driver.Rows) error {
		var profile uint64
		var end CutEnd
		var against uint8
		err := rows.Scan(&profile, &end.Cut, &against)
		end.Against = against == 1
		cuts[profile] = append(cuts[profile], end)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading what was cut apart: %w", err)
	}
	w.cuts = cuts
	return nil
}

func (w *Warehouse) learnAll(ctx context.Context) error {
	var rows uint64
	if err := w.conn.QueryRow(ctx, "SELECT count() FROM identities").Scan(&rows); err != nil {
		return fmt.Errorf("counting identifiers: %w", err)
	}
	limit := min(max(filterKeys, 2*uint(rows)), filterMost)
	known, count := bloom.NewWithEstimates(limit, filterError), uint(0)
	result, err := w.conn.Query(ctx, `SELECT xxHash64(concat(type, '\0', value)) FROM identities`)
	if err != nil {
		return fmt.Errorf("reading identifiers: %w", err)
	}
	defer func() { _ = result.Close() }()
	for result.Next() {
		var hash uint64
		if err := result.Scan(&hash); err != nil {
			return fmt.Errorf("reading identifiers: %w", err)
		}
		known.Add(binary.LittleEndian.AppendUint64(nil, hash))
		count++
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("reading identifiers: %w", err)
	}
	w.known, w.count, w.limit = known, count, limit
	return nil
}

// Learn implements [Store].
func (w *Warehouse) Learn(attached []AttachedRow) {
	var buffer []byte
	for i := range attached {
		buffer = appendHash(buffer[:0], attached[i].Identifier)
		w.known.Add(buffer[:8])
	}
	w.count += uint(len(attached))
}

// appendHash gives the first 8 bytes of buffer the hash that the warehouse calls xxHash64(concat(type, '\0', value)).
func appendHash(buffer []byte, id Identifier) []byte {
	buffer = append(append(append(buffer, id.Type...), 0), id.Value...)
	hash := xxhash.Sum64(buffer)
	return binary.LittleEndian.AppendUint64(buffer[:0], hash)
}

// Ordinals implements [Store].
func (w *Warehouse) Ordinals(ctx context.Context, ids []Identifier, before uint64) ([]uint64, error) {
	if w.count > w.limit && w.limit < filterMost {
		if err := w.learnAll(ctx); err != nil {
			return nil, err
		}
	}
	ordinals := make([]uint64, len(ids))
	ask := map[string][]string{} // values by type
	where := map[Identifier]int{}
	var buffer []byte
	for i, id := range ids {
		buffer = appendHash(buffer[:0], id)
		if w.known.Test(buffer[:8]) {
			ask[id.Type] = append(ask[id.Type], id.Value)
			where[id] = i
		}
	}
	for kind, values := range ask {
		for values := range slices.Chunk(values, chunk) {
			if err := w.lookup(ctx, kind, values, before, func(value string, profile uint64) {
				if i, ok := where[Identifier{kind, value}]; ok {
					ordinals[i] = profile
				}
			}); err != nil {
				return nil, err
			}
		}
	}
	return ordinals, nil
}

func (w *Warehouse) lookup(ctx context.Context, kind string, values []string, before uint64, found func(string, uint64)) error {
	query := "SELECT value, profile FROM identities WHERE type = " + quote(kind) + " AND value IN (" + list(values, quote) +
		") AND version < " + strconv.FormatUint(before, 10) + " ORDER BY version"
	rows, err := w.conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var value string
		var profile uint64
		if err := rows.Scan(&value, &profile); err != nil {
			return err
		}
		found(value, profile)
	}
	return rows.Err()
}

// Profiles implements [Store].
func (w *Warehouse) Profiles(ctx context.Context, ordinals []uint64, timed []string, before uint64) ([]Profile, error) {
	out := make([]Profile, 0, len(ordinals))
	for part := range slices.Chunk(ordinals, chunk) {
		profiles, err := w.profiles(ctx, part, timed, before)
		if err != nil {
			return nil, err
		}
		out = append(out, profiles...)
	}
	return out, nil
}

func (w *Warehouse) profiles(ctx context.Context, ordinals []uint64, timed []string, before uint64) ([]Profile, error) {
	f := forest{}
	if err := w.loadForest(ctx, f, ordinals); err != nil {
		return nil, err
	}
	byRoot := map[uint64]*Profile{}
	roots := make([]uint64, len(ordinals))
	for i, ordinal := range ordinals {
		roots[i] = f.rootBefore(ordinal, before)
		byRoot[roots[i]] = &Profile{Ordinal: roots[i], Counts: map[string]int{}, Since: map[string][]int64{}}
	}
	members := keys(byRoot)
	for _, o := range f.sorted() {
		if root, ok := byRoot[f.rootBefore(o.Ordinal, before)]; ok && o.Version < before {
			root.Absorbed = append(root.Absorbed, o.Merge)
			members = append(members, o.Ordinal)
		}
	}
	if err := w.loadProfiles(ctx, byRoot); err != nil {
		return nil, err
	}
	if err := w.loadCounts(ctx, f, byRoot, members, timed, before); err != nil {
		return nil, err
	}
	out := make([]Profile, len(ordinals))
	for root, p := range byRoot {
		p.Cuts = slices.Clone(w.cuts[root])
		for _, m := range p.Absorbed {
			p.Cuts = append(p.Cuts, w.cuts[m.Ordinal]...)
		}
	}
	for i, root := range roots {
		out[i] = *byRoot[root]
	}
	return out, nil
}

func (w *Warehouse) loadProfiles(ctx context.Context, byRoot map[uint64]*Profile) error {
	rows, err := w.conn.Query(ctx, "SELECT profile, id, rank, created FROM profiles FINAL WHERE profile IN ("+list(keys(byRoot), number)+")")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var p Profile
		if err := rows.Scan(&p.Ordinal, &p.ID, &p.Rank, &p.Created); err != nil {
			return err
		}
		known := byRoot[p.Ordinal]
		known.ID, known.Rank, known.Created = p.ID, p.Rank, p.Created
	}
	return rows.Err()
}

// loadCounts counts identifiers, rather than keep a counter that could drift from them.
func (w *Warehouse) loadCounts(ctx context.Context, f forest, byRoot map[uint64]*Profile, members []uint64, timed []string, before uint64) error {
	since := "emptyArrayInt64()"
	if len(timed) > 0 {
		since = "groupArrayIf(toUnixTimestamp64Milli(since), type IN (" + list(timed, quote) + "))"
	}
	for part := range slices.Chunk(members, chunk) {
		rows, err := w.conn.Query(ctx, "SELECT profile, type, count(), "+since+" FROM profile_identifiers FINAL WHERE profile IN ("+list(part, number)+
			") AND version < "+number(before)+" GROUP BY profile, type")
		if err != nil {
			return err
		}
		err = func() error {
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				var profile, n uint64
				var kind string
				var times []int64
				if err := rows.Scan(&profile, &kind, &n, &times); err != nil {
					return err
				}
				root := byRoot[f.rootBefore(profile, before)]
				root.Counts[kind] += int(n)
				root.Since[kind] = append(root.Since[kind], times...)
			}
			return rows.Err()
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

func keys[V any](m map[uint64]V) []uint64 {
	out := make([]uint64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func list[V any](values []V, write func(V) string) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(write(v))
	}
	return b.String()
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// quote writes a string literal of ClickHouse.
func quote(text string) string {
	return "'" + literal.Replace(text) + "'"
}

var literal = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`)
