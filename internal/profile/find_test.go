package profile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// people is what ingestion and evaluations wrote, as simple as can be: a root and audiences by ordinal.
type people struct {
	root      map[uint64]uint64
	id        map[uint64]uuid.UUID
	in        map[uint64]map[string]time.Time
	version   uint64
	overrides []string
	members   []string
	names     []string
}

func (p *people) key(ordinal uint64) profile.Key {
	return profile.Key{Type: "userId", Value: fmt.Sprintf("u'\\%d", ordinal)}
}

func (p *people) name(ordinal uint64) {
	p.version++
	p.id[ordinal] = uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "%d %d", ordinal, p.version))
	p.names = append(p.names, fmt.Sprintf("(%d, '%s', 0, toDateTime64(%d, 3, 'UTC'), %d)", ordinal, p.id[ordinal], ordinal, p.version))
}

func (p *people) merge(ordinal, into uint64) {
	from, to := p.root[ordinal], p.root[into]
	if from == to {
		return
	}
	p.version++
	for _, member := range slices.Sorted(maps.Keys(p.root)) {
		if p.root[member] == from {
			p.root[member] = to
			p.overrides = append(p.overrides, fmt.Sprintf("(%d, %d, %d, %d, %d)", member, to, p.version, to, p.version))
		}
	}
}

func (p *people) member(ordinal uint64, audience string, enters bool) {
	p.version++
	at, deleted := time.Unix(int64(p.version), 0).UTC(), 1
	delete(p.in[ordinal], audience)
	if enters {
		p.in[ordinal][audience], deleted = at, 0
	}
	p.members = append(p.members, fmt.Sprintf("('%s', %d, toDateTime64(%d, 3, 'UTC'), %d, %d)", audience, ordinal, p.version, p.version, deleted))
}

// write inserts what happened since the last time, as the tables get it.
func (p *people) write(ctx context.Context, t interface{ Fatalf(string, ...any) }, conn driver.Conn) {
	for into, rows := range map[string]*[]string{
		"profiles (profile, id, rank, created, version)":                 &p.names,
		"profile_overrides (profile, survivor, version, parent, merged)": &p.overrides,
		"memberships (audience, profile, since, revision, deleted)":      &p.members,
	} {
		if len(*rows) == 0 {
			continue
		}
		if err := conn.Exec(ctx, "INSERT INTO "+into+" VALUES "+strings.Join(*rows, ",")); err != nil {
			t.Fatalf("inserting into %s: %v", into, err)
		}
		*rows = nil
	}
}

// want is whom a key leads to.
func (p *people) want(ordinal uint64) *profile.Profile {
	root := p.root[ordinal]
	out := &profile.Profile{
		ID: p.id[root].String(), Created: time.Unix(int64(root), 0).UTC(), Ordinal: root, Ordinals: []uint64{root},
		Identifiers: map[string][]string{}, Traits: map[string]profile.Trait{}, Audiences: []profile.Audience{}, Events: []profile.Event{},
	}
	since := map[string]time.Time{}
	for _, member := range slices.Sorted(maps.Keys(p.root)) {
		if p.root[member] != root {
			continue
		}
		if member != root {
			out.Ordinals = append(out.Ordinals, member)
		}
		for name, at := range p.in[member] {
			if first, is := since[name]; !is || at.Before(first) {
				since[name] = at
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(since)) {
		out.Audiences = append(out.Audiences, profile.Audience{Name: name, Since: since[name]})
	}
	return out
}

// Whatever was merged, renamed, entered and left, each identifier leads to the customer that it belongs to now, with the
// audiences of now, however many are asked for at once.
func TestFinderProperty(t *testing.T) {
	conn := warehousetest.Open(t)
	base := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		base += 1000
		ctx := context.Background()
		n := uint64(rapid.IntRange(1, 40).Draw(t, "profiles"))
		p := &people{root: map[uint64]uint64{}, id: map[uint64]uuid.UUID{}, in: map[uint64]map[string]time.Time{}}
		var identities []string
		for i := range n {
			ordinal := base + i + 1
			p.root[ordinal], p.in[ordinal] = ordinal, map[string]time.Time{}
			p.name(ordinal)
			identities = append(identities, fmt.Sprintf("('userId', 'u\\'\\\\%d', %d, now(), 1)", ordinal, ordinal))
		}
		if err := conn.Exec(ctx, "INSERT INTO identities (type, value, profile, since, version) VALUES "+strings.Join(identities, ",")); err != nil {
			t.Fatalf("%v", err)
		}
		one := rapid.Uint64Range(base+1, base+n)
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			for range rapid.IntRange(0, 12).Draw(t, "changes") {
				switch ordinal := one.Draw(t, "profile"); rapid.IntRange(0, 3).Draw(t, "change") {
				case 0:
					p.merge(ordinal, one.Draw(t, "into"))
				case 1:
					p.name(ordinal)
				default:
					p.member(ordinal, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "audience"), rapid.Bool().Draw(t, "enters"))
				}
			}
			p.write(ctx, t, conn)
			check(ctx, t, conn, p)
		}
	})
}

// check asks for everybody at once, and for strangers.
func check(ctx context.Context, t interface{ Errorf(string, ...any) }, conn driver.Conn, p *people) {
	finder := profile.NewFinder()
	var all sync.WaitGroup
	for ordinal := range p.root {
		all.Go(func() {
			got, err := finder.Find(ctx, conn, p.key(ordinal))
			if err != nil {
				t.Errorf("%d: %v", ordinal, err)
			} else if diff := cmp.Diff(p.want(ordinal), got); diff != "" {
				t.Errorf("%d (-want +got):\n%s", ordinal, diff)
			}
			got, err = finder.Find(ctx, conn, profile.Key{Type: profile.ByID, Value: p.id[ordinal].String()})
			if err != nil || got.Ordinal != p.root[ordinal] {
				t.Errorf("%d by its id: %v, %v", ordinal, got, err)
			}
			got, err = profile.NewFinder().Find(ctx, conn, p.key(ordinal)) // with nobody else
			if err != nil {
				t.Errorf("%d alone: %v", ordinal, err)
			} else if diff := cmp.Diff(p.want(ordinal), got); diff != "" {
				t.Errorf("%d alone (-want +got):\n%s", ordinal, diff)
			}
			if got, err := finder.Find(ctx, conn, profile.Key{Type: "anonymousId", Value: p.key(ordinal).Value}); !errors.Is(err, profile.ErrNotFound) {
				t.Errorf("a stranger: %v, %v", got, err)
			}
		})
	}
	all.Wait()
}

// One who leaves takes nobody with them, and is not waited for.
func TestFinderLeave(t *testing.T) {
	conn := fixture(t)
	finder := profile.NewFinder()
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				time.AfterFunc(time.Duration(i%20)*time.Millisecond, cancel)
			}
			got, err := finder.Find(ctx, conn, profile.Key{Type: "anonymousId", Value: "a"})
			switch {
			case err == nil && got.Ordinal != 2:
				t.Errorf("found %d", got.Ordinal)
			case err != nil && (i%3 != 0 || !errors.Is(err, context.Canceled)):
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// Whoever is deleted from each table that names customers is unknown at once; others are not touched.
func TestErased(t *testing.T) {
	conn := fixture(t)
	for _, table := range warehouse.Tables() {
		if table.Profile != "" {
			exec(t, conn, "DELETE FROM "+table.Name+" WHERE "+table.Profile+" IN (2, 5)")
		}
	}
	for _, key := range [][2]string{{"anonymousId", "a"}, {"userId", "u'\t\\"}, {profile.ByID, "00000000-0000-0000-0000-00000000000a"}, {profile.ByID, "00000000-0000-0000-0000-00000000000b"}} {
		if got, err := profile.Get(t.Context(), conn, key[0], key[1], 10); !errors.Is(err, profile.ErrNotFound) {
			t.Errorf("%q: %v, %v", key, got, err)
		}
	}
	got, err := profile.Get(t.Context(), conn, "userId", "v", 10)
	if err != nil || len(got.Events) != 1 || len(got.Audiences) != 1 || len(got.Traits) != 1 {
		t.Errorf("a stranger is %+v, %v", got, err)
	}
	var left uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d events, %v", left, err)
	}
}

// A warehouse of an earlier release has customers already when it gets their cards.
func TestCardsOfEarlierRelease(t *testing.T) {
	conn := fixture(t)
	before, err := profile.Get(t.Context(), conn, "anonymousId", "a", 10)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "TRUNCATE TABLE profile_cards", "TRUNCATE TABLE schema_migrations")
	for range 2 {
		if err := warehouse.Migrate(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		after, err := profile.Get(t.Context(), conn, "anonymousId", "a", 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	}
}
