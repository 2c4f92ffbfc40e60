package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"kohort.dev/kohort/internal/event"
)

// Sizes of a Resolver's caches, in entries of about 150 bytes: 60 MiB together, whatever the number of profiles.
const (
	cachedIdentifiers = 200_000
	cachedProfiles    = 200_000
)

// Resolver decides, batch by batch, which customer events belong to. It is the only writer of a Platform's identities
// and is used by one goroutine.
type Resolver struct {
	rules []Rule
	timed []string // types that are limited by time
	most  int      // identifiers of a profile
	store Store
	// ordinals of identifiers, as of when they were last used: the profile may have been merged since.
	ordinals *simplelru.LRU[key, uint64]
	// profiles by their own ordinal, none that was merged. No other pointer to them outlives a batch, so there is never
	// a second, older state of one profile.
	profiles *simplelru.LRU[uint64, *state]
	edges    *recent
}

// key is an identifier with the rank of its type for its type.
type key struct {
	rank  int
	value string
}

// NewResolver makes a Resolver that has seen nothing. Rules are not to be changed; other rules need another Resolver.
func NewResolver(rules []Rule, store Store) (*Resolver, error) {
	return newResolver(rules, store, cachedIdentifiers, cachedProfiles)
}

func newResolver(rules []Rule, store Store, identifiers, profiles int) (*Resolver, error) {
	if err := Check(rules); err != nil {
		return nil, err
	}
	ordinals, err := simplelru.NewLRU[key, uint64](identifiers, nil)
	if err != nil {
		return nil, fmt.Errorf("identity: making a cache: %w", err)
	}
	states, err := simplelru.NewLRU[uint64, *state](profiles, nil)
	if err != nil {
		return nil, fmt.Errorf("identity: making a cache: %w", err)
	}
	r := &Resolver{rules: slices.Clone(rules), most: MaxIdentifiers, store: store, ordinals: ordinals, profiles: states, edges: newRecent()}
	for _, rule := range rules {
		if rule.windowed() {
			r.timed = append(r.timed, rule.Type)
		}
	}
	return r, nil
}

// Batch is the part of the stream from First to Last, with what it holds in order. Next is the lowest free ordinal.
type Batch struct {
	First, Last uint64
	Next        uint64
	Events      []event.Event
}

// Resolve decides a batch. It fails only when the store does, and then has changed nothing; once it has succeeded the
// changes must be stored before the next batch is resolved, or the Resolver be thrown away.
//
// The result is a function of the rules, the batch, and the store as of First, apart from edges that may be left out.
func (r *Resolver) Resolve(ctx context.Context, b Batch) (Changes, error) {
	w := work{rules: r.rules, most: r.most, batch: b, next: max(1, b.Next)}
	w.collect()
	if err := r.load(ctx, &w); err != nil {
		return Changes{}, err
	}
	w.decide(r.edges)
	r.remember(&w)
	changes := w.changes()
	r.store.Learn(changes.Attached)
	return changes, nil
}

// load fills in what is known of the batch's identifiers.
func (r *Resolver) load(ctx context.Context, w *work) error {
	var missing []int
	var ids []Identifier
	for i := range w.slots {
		s := &w.slots[i]
		if ordinal, ok := r.ordinals.Get(s.key); ok {
			s.ordinal = ordinal
			continue
		}
		missing = append(missing, i)
		ids = append(ids, Identifier{Type: r.rules[s.rank].Type, Value: s.value})
	}
	if len(ids) > 0 {
		ordinals, err := r.store.Ordinals(ctx, ids, w.batch.First)
		if err != nil {
			return fmt.Errorf("looking up %d identifiers: %w", len(ids), err)
		}
		for i, ordinal := range ordinals {
			w.slots[missing[i]].ordinal = ordinal
		}
	}
	states := map[uint64]*state{} // by the ordinal that an identifier names, merged or not
	var unknown []uint64
	for i := range w.slots {
		ordinal := w.slots[i].ordinal
		if _, seen := states[ordinal]; ordinal == 0 || seen {
			continue
		}
		known, ok := r.profiles.Get(ordinal)
		states[ordinal] = known
		if !ok {
			unknown = append(unknown, ordinal)
		}
	}
	if err := r.loadProfiles(ctx, w.batch.First, unknown, states); err != nil {
		return err
	}
	for i := range w.slots {
		w.slots[i].state = states[w.slots[i].ordinal]
	}
	return nil
}

func (r *Resolver) loadProfiles(ctx context.Context, before uint64, ordinals []uint64, states map[uint64]*state) error {
	if len(ordinals) == 0 {
		return nil
	}
	profiles, err := r.store.Profiles(ctx, ordinals, r.timed, before)
	if err != nil {
		return fmt.Errorf("looking up %d profiles: %w", len(ordinals), err)
	}
	for i, p := range profiles {
		root := states[p.Ordinal]
		if root == nil {
			root, _ = r.profiles.Peek(p.Ordinal)
		}
		if root == nil {
			root = newState(p, r.rules)
		}
		states[p.Ordinal], states[ordinals[i]] = root, root
	}
	return nil
}

// remember keeps what the batch knew for the next one.
func (r *Resolver) remember(w *work) {
	for i := range w.slots {
		s := &w.slots[i]
		if s.state == nil {
			continue // seen, and left out of every match
		}
		root := s.state.root()
		if !r.ordinals.Contains(s.key) {
			s.value = strings.Clone(s.value) // the cache must not keep the whole message
		}
		r.ordinals.Add(s.key, root.ordinal)
		r.profiles.Add(root.ordinal, root)
	}
	for _, s := range w.merged {
		r.profiles.Remove(s.ordinal)
	}
}
