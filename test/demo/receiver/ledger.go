// Package receiver is a mail tool for the demo: a webhook destination that keeps who it was told to hold, and counts what
// it was sent for nothing.
package receiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Batch is the body that Kohort posts to a webhook destination.
type Batch struct {
	Audience   string      `json:"audience"`
	Sync       string      `json:"sync"`
	Run        string      `json:"run"`
	Operations []Operation `json:"operations"`
}

// Operation puts a member in, or takes one out.
type Operation struct {
	Op          string              `json:"op"` // upsert or remove
	ID          string              `json:"id"` // of the profile
	Identifiers map[string][]string `json:"identifiers,omitempty"`
	Traits      map[string]any      `json:"traits,omitempty"`
}

// Audience is what the receiver holds and has seen of one audience.
type Audience struct {
	Count int `json:"count"`
	// Members by profile id: the newest operation that put them in.
	Members map[string]Operation `json:"members"`
	// Requests that were taken, and of these Replays: requests with an Idempotency-Key that was seen before.
	Requests int `json:"requests"`
	Replays  int `json:"replays"`
	// Operations that were taken, outside replays.
	Upserts int `json:"upserts"`
	Removes int `json:"removes"`
	// Redundant operations, outside replays: members sent again with nothing changed, or taken out when not there.
	Redundant int `json:"redundant"`
	// Largest number of operations in one request.
	Largest int `json:"largest"`
	// Keys that were seen.
	Keys map[string]bool `json:"keys,omitempty"`
}

// Ledger holds all audiences. It is safe for use by several requests at once.
type Ledger struct {
	lock      sync.Mutex
	file      string // empty: memory only
	audiences map[string]*Audience
}

// Open reads a ledger from its file, or starts a new one. An empty name keeps it in memory.
func Open(file string) (*Ledger, error) {
	l := &Ledger{file: file, audiences: map[string]*Audience{}}
	if file == "" {
		return l, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	if err := json.Unmarshal(data, &l.audiences); err != nil {
		return nil, fmt.Errorf("reading the ledger %s: %w", file, err)
	}
	return l, nil
}

// Validate says what is wrong with a batch.
func (b Batch) Validate() error {
	if b.Audience == "" || b.Sync == "" {
		return errors.New("audience and sync must be given")
	}
	if len(b.Operations) > 500 {
		return fmt.Errorf("%d operations in one request: at most 500", len(b.Operations))
	}
	for i, o := range b.Operations {
		if o.ID == "" || o.Op != "upsert" && o.Op != "remove" {
			return fmt.Errorf("operation %d needs an id and the op upsert or remove", i)
		}
	}
	return nil
}

// Take does what a valid batch says. When it returns, a ledger with a file is on disk.
func (l *Ledger) Take(key string, b Batch) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	a := l.audiences[b.Audience]
	if a == nil {
		a = &Audience{Members: map[string]Operation{}, Keys: map[string]bool{}}
		l.audiences[b.Audience] = a
	}
	a.Requests++
	a.Largest = max(a.Largest, len(b.Operations))
	replay := key != "" && a.Keys[key]
	if replay {
		a.Replays++
	} else if key != "" {
		a.Keys[key] = true
	}
	for _, o := range b.Operations {
		changed := a.apply(o)
		if replay {
			continue
		}
		if o.Op == "upsert" {
			a.Upserts++
		} else {
			a.Removes++
		}
		if !changed {
			a.Redundant++
		}
	}
	a.Count = len(a.Members)
	return l.save()
}

// apply puts a member in or takes one out, and says whether that changed anything.
func (a *Audience) apply(o Operation) bool {
	old, held := a.Members[o.ID]
	if o.Op == "remove" {
		delete(a.Members, o.ID)
		return held
	}
	a.Members[o.ID] = o
	return !held || !equal(old, o)
}

// equal compares what is told of a member; the order of identifiers does not matter.
func equal(a, b Operation) bool {
	same := maps.EqualFunc(a.Identifiers, b.Identifiers, func(x, y []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y)))
	})
	x, errX := json.Marshal(a.Traits)
	y, errY := json.Marshal(b.Traits)
	return same && errX == nil && errY == nil && string(x) == string(y)
}

// save writes the ledger so that it is whole on disk, old or new.
func (l *Ledger) save() error {
	if l.file == "" {
		return nil
	}
	data, err := json.Marshal(l.audiences)
	if err != nil {
		return fmt.Errorf("encoding the ledger: %w", err)
	}
	next := l.file + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("writing the ledger: %w", err)
	}
	if err := os.Rename(next, l.file); err != nil {
		return fmt.Errorf("putting the ledger into %s: %w", filepath.Dir(l.file), err)
	}
	return nil
}

// Show returns a copy of what is held of an audience; nothing yet is an empty one.
func (l *Ledger) Show(audience string) Audience {
	l.lock.Lock()
	defer l.lock.Unlock()
	a, known := l.audiences[audience]
	if !known {
		return Audience{Members: map[string]Operation{}}
	}
	out := *a
	out.Members, out.Keys = maps.Clone(a.Members), nil
	return out
}

// Counts returns the number of members of each audience.
func (l *Ledger) Counts() map[string]int {
	l.lock.Lock()
	defer l.lock.Unlock()
	counts := make(map[string]int, len(l.audiences))
	for name, a := range l.audiences {
		counts[name] = len(a.Members)
	}
	return counts
}
