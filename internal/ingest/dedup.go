package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/bits-and-blooms/bloom/v3"

	"kohort.dev/kohort/internal/event"
)

// messageHash is what the table message_ids holds of a messageId: 128 bits of SHA-256, so that nobody can make two ids
// that collide.
type messageHash = [16]byte

func hashMessage(id string) messageHash {
	sum := sha256.Sum256([]byte(id))
	return messageHash(sum[:16])
}

// deduplicator knows which messages were stored. A filter in memory passes most of the new ones; the warehouse decides
// the rest, so its decisions are exact whatever the filter says.
type deduplicator struct {
	conn    driver.Conn
	window  time.Duration            // of Sources that are not in windows
	windows map[string]time.Duration // by Source
	clock   func() time.Time
	filter  *bloom.BloomFilter
	count   uint          // ids in the filter
	limit   uint          // it is made for
	reach   time.Duration // longest window that it is made for
}

// LongestWindow of deduplication: ids are kept for 30 days, and an event may lie in the stream for as long as the window.
const LongestWindow = 14 * 24 * time.Hour

const (
	// A filter of 14.4 bits an id is wrong for one new id in a thousand.
	messageFilterError = 0.001
	messageFilterIDs   = 2_000_000
	// messageFilterMost bounds the filter at 64 MiB; with more ids in the window it is wrong more often, which costs
	// look-ups.
	messageFilterMost = 37_000_000
	// hashesPerQuery is how many hashes, of 42 bytes of SQL, one query names.
	hashesPerQuery = 5_000
	// slack for clocks of collectors that differ.
	clockSlack = time.Hour
)

// load reads the ids of two windows, 16 bytes for each: an event may have lain in the stream for one, and is compared
// with those of the one before.
func (d *deduplicator) load(ctx context.Context) error {
	reach := d.longest()
	since := fmt.Sprintf(" FROM message_ids WHERE received >= toDateTime(%d, 'UTC')", max(0, d.clock().Add(-2*reach-clockSlack).Unix()))
	var rows uint64
	if err := d.conn.QueryRow(ctx, "SELECT count()"+since).Scan(&rows); err != nil {
		return fmt.Errorf("counting message ids: %w", err)
	}
	limit := min(max(messageFilterIDs, 2*uint(rows)), messageFilterMost)
	filter, count := bloom.NewWithEstimates(limit, messageFilterError), uint(0)
	result, err := d.conn.Query(ctx, "SELECT hash"+since)
	if err != nil {
		return fmt.Errorf("reading message ids: %w", err)
	}
	defer func() { _ = result.Close() }()
	var hash []byte
	for result.Next() {
		if err := result.Scan(&hash); err != nil {
			return fmt.Errorf("reading message ids: %w", err)
		}
		filter.Add(hash)
		count++
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("reading message ids: %w", err)
	}
	d.filter, d.count, d.limit, d.reach = filter, count, limit, reach
	return nil
}

// longest window of any Source.
func (d *deduplicator) longest() time.Duration {
	longest := d.window
	for _, w := range d.windows {
		longest = max(longest, w)
	}
	return longest
}

// windowOf is the window for an event of a Source.
func (d *deduplicator) windowOf(source string) time.Duration {
	if w, ok := d.windows[source]; ok {
		return w
	}
	return d.window
}

// again says whether a message received at now repeats one received at before. The warehouse keeps whole seconds, so
// within the window nothing is stored twice, and up to a second after its end a repetition may still be taken for one.
func (d *deduplicator) again(before, now time.Time, source string) bool {
	return clampSeconds(now).Sub(clampSeconds(before)) <= d.windowOf(source)
}

// unique keeps the events that are no duplicates: neither of an event before message first, within the window, nor of an
// earlier one of the batch. It gives the hashes of those kept, the zero hash for ids that were made here. A replay of the
// batch decides the same.
func (d *deduplicator) unique(ctx context.Context, events []event.Event, first uint64) ([]event.Event, []messageHash, error) {
	if d.count > d.limit && d.limit < messageFilterMost || d.longest() > d.reach {
		if err := d.load(ctx); err != nil {
			return nil, nil, err
		}
	}
	hashes := make([]messageHash, len(events))
	var suspects []messageHash
	for i := range events {
		if events[i].Derived {
			continue
		}
		hashes[i] = hashMessage(events[i].MessageID)
		if d.filter.Test(hashes[i][:]) || events[i].Redriven != nil { // the filter does not reach back as far as quarantine
			suspects = append(suspects, hashes[i])
		}
	}
	stored, err := d.stored(ctx, suspects, first)
	if err != nil {
		return nil, nil, err
	}
	duplicates := d.duplicates(events, hashes, stored)
	if len(duplicates) == 0 {
		return events, hashes, nil
	}
	kept, keptHashes := make([]event.Event, 0, len(events)-len(duplicates)), hashes[:0]
	for i := range events {
		if len(duplicates) > 0 && duplicates[0] == i {
			duplicates = duplicates[1:]
			continue
		}
		kept, keptHashes = append(kept, events[i]), append(keptHashes, hashes[i])
	}
	return kept, keptHashes, nil
}

// duplicates gives the places of the events that are, ascending.
func (d *deduplicator) duplicates(events []event.Event, hashes []messageHash, stored map[messageHash]time.Time) []int {
	var places []int
	inBatch := make(map[messageHash]time.Time, len(events)) // when the last one that counts was received
	for i := range events {
		if events[i].Derived {
			continue
		}
		at, before := stored[hashes[i]]
		here, twice := inBatch[hashes[i]]
		e := &events[i]
		if twice && d.again(here, e.Received, e.Source) || before && d.again(at, e.Received, e.Source) {
			places = append(places, i)
			continue
		}
		if !twice || here.Before(e.Received) {
			inBatch[hashes[i]] = e.Received
		}
	}
	return places
}

// stored gives when each of the hashes was last stored before message first.
func (d *deduplicator) stored(ctx context.Context, hashes []messageHash, first uint64) (map[messageHash]time.Time, error) {
	found := map[messageHash]time.Time{}
	for part := range slices.Chunk(hashes, hashesPerQuery) {
		var list strings.Builder
		for i, h := range part {
			if i > 0 {
				list.WriteByte(',')
			}
			list.WriteString("unhex('" + hex.EncodeToString(h[:]) + "')")
		}
		query := fmt.Sprintf("SELECT hash, max(received) FROM message_ids WHERE hash IN (%s) AND seq < %d GROUP BY hash", list.String(), first)
		rows, err := d.conn.Query(ctx, query)
		if err != nil {
			return nil, fmt.Errorf("looking up %d message ids: %w", len(part), err)
		}
		for rows.Next() {
			var hash []byte
			var at time.Time
			if err := rows.Scan(&hash, &at); err != nil {
				_ = rows.Close()
				return nil, fmt.Errorf("looking up message ids: %w", err)
			}
			found[messageHash(hash)] = at
		}
		err = rows.Err()
		_ = rows.Close()
		if err != nil {
			return nil, fmt.Errorf("looking up %d message ids: %w", len(part), err)
		}
	}
	return found, nil
}

// learn takes up the hashes of a batch that is stored.
func (d *deduplicator) learn(hashes []messageHash) {
	for i := range hashes {
		if hashes[i] != (messageHash{}) {
			d.filter.Add(hashes[i][:])
			d.count++
		}
	}
}
