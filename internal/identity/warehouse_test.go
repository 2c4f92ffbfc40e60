package identity

import (
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// insert stores changes as the engine does.
func insert(t *testing.T, conn driver.Conn, c Changes) {
	t.Helper()
	put := func(table string, columns ...warehouse.Column) {
		if err := warehouse.Insert(t.Context(), conn, table, "", columns...); err != nil {
			t.Fatal(err)
		}
	}
	col := func(name, kind string, values any) warehouse.Column {
		return warehouse.Column{Name: name, Type: kind, Values: values}
	}
	versions := func(n int) warehouse.Column {
		v := make([]uint64, n)
		for i := range v {
			v[i] = c.Version
		}
		return col("version", "UInt64", v)
	}
	var profiles, ranks = []uint64{}, []uint32{}
	var ids []uuid.UUID
	var created []time.Time
	for _, r := range c.Profiles {
		profiles, ids, ranks, created = append(profiles, r.Profile), append(ids, r.ID), append(ranks, r.Rank), append(created, r.Created)
	}
	put("profiles", col("profile", "UInt64", profiles), col("id", "UUID", ids), col("rank", "UInt32", ranks), col("created", "DateTime64(3, 'UTC')", created), versions(len(ids)))
	var owners []uint64
	var types, values []string
	var since []time.Time
	for _, r := range c.Attached {
		owners, types, values, since = append(owners, r.Profile), append(types, r.Type), append(values, r.Value), append(since, r.Since)
	}
	for _, table := range []string{"identities", "profile_identifiers"} {
		put(table, col("profile", "UInt64", owners), col("type", "String", types), col("value", "String", values), col("since", "DateTime64(3, 'UTC')", since), versions(len(types)))
	}
	var moved, survivors, parents, merged []uint64
	for _, r := range c.Overrides {
		moved, survivors, parents, merged = append(moved, r.Ordinal), append(survivors, r.Survivor), append(parents, r.Parent), append(merged, r.Version)
	}
	put("profile_overrides", col("profile", "UInt64", moved), col("survivor", "UInt64", survivors), col("parent", "UInt64", parents), col("merged", "UInt64", merged), versions(len(moved)))
}

// The store over ClickHouse tells what the plain one in memory tells, also of a batch that is there already.
func TestWarehouseIsAStore(t *testing.T) {
	conn := warehousetest.Open(t)
	gen := rapid.Custom(genEvents)
	for seed := range 6 {
		for _, table := range []string{"profiles", "identities", "profile_identifiers", "profile_overrides"} {
			if err := conn.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
				t.Fatal(err)
			}
		}
		rules := [][]Rule{defaults(), unlimited(), windowed()}[seed%3]
		// Values that SQL might stumble over.
		events := gen.Example(seed)
		for i := range events {
			for k := range events[i].Identifiers {
				if id := &events[i].Identifiers[k]; id.Type == "userId" {
					id.Value += "'\\\t\x00é"
				}
			}
		}
		var cuts []int
		for left := len(events); left > 0; left -= min(4, left) {
			cuts = append(cuts, min(4, left))
		}
		run(t, rules, events, cuts, 100, func(_ *memory, b Batch, want Changes) {
			resolve := func() Changes {
				store, err := NewWarehouse(t.Context(), conn)
				if err != nil {
					t.Fatal(err)
				}
				r, err := newResolver(rules, store, 1, 1)
				if err != nil {
					t.Fatal(err)
				}
				got, err := r.Resolve(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if diff := cmp.Diff(want, resolve(), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Changes{}, "Edges")); diff != "" {
				t.Fatalf("seed %d, batch %d (-memory +warehouse):\n%s", seed, b.First, diff)
			}
			insert(t, conn, want)
			if diff := cmp.Diff(want, resolve(), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Changes{}, "Edges", "Profiles")); diff != "" {
				t.Fatalf("seed %d, batch %d replayed (-memory +warehouse):\n%s", seed, b.First, diff)
			}
		})
	}
}

func TestFilterGrows(t *testing.T) {
	conn := warehousetest.Open(t)
	store, err := NewWarehouse(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	c := Changes{Version: 1, Attached: []AttachedRow{{Identifier: Identifier{"userId", "u"}, Profile: 3}}}
	insert(t, conn, c)
	ask := func() uint64 {
		got, err := store.Ordinals(t.Context(), []Identifier{{"userId", "u"}}, 2)
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	if got := ask(); got != 0 {
		t.Errorf("the store looked up an identifier that its filter does not know: %d", got)
	}
	store.Learn(c.Attached)
	if got := ask(); got != 3 {
		t.Errorf("after learning it the identifier is of profile %d, want 3", got)
	}
	store.limit = 0 // full: the next question makes a new filter from what is stored
	store.known.ClearAll()
	if got := ask(); got != 3 || store.limit != filterKeys {
		t.Errorf("a filter made anew gives profile %d, want 3, and is for %d keys", got, store.limit)
	}
}
