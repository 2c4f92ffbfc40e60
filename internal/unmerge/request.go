package unmerge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/stream"
)

// ErrStream says that the stream did not take a request.
var ErrStream = errors.New("the stream does not acknowledge")

// Profile is one of those that a cut leaves.
type Profile struct {
	// ID is its public id.
	ID string `json:"id"`
	// Kept is the one that was there before.
	Kept        bool     `json:"kept"`
	Identifiers []string `json:"identifiers"`
	// Events that it has, of all that the profile had.
	Events uint64 `json:"events"`
}

// Preview gives what a cut would leave if it came now, the kept profile first. The error is [identity.ErrUnknown],
// [identity.ErrNotOne], [identity.ErrAlone] or [identity.ErrTied] when there is nothing to cut.
func Preview(ctx context.Context, conn driver.Conn, rules []identity.Rule, c identity.Cut) ([]Profile, error) {
	// An ordinal that nobody has: the last that there can be, but for the parts.
	u, err := identity.Decide(ctx, conn, c, ^uint64(0)-identity.MaxIdentifiers)
	if err != nil {
		return nil, err
	}
	return Left(ctx, conn, rules, u, ^uint64(0))
}

// Left gives what an unmerge leaves of what there was before a message.
func Left(ctx context.Context, conn driver.Conn, rules []identity.Rule, u identity.Unmerge, before uint64) ([]Profile, error) {
	h, err := NewHistory(ctx, conn, rules, u, before)
	if err != nil {
		return nil, err
	}
	counts, err := h.Count(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[uint64][]identity.Identifier{}
	for id, owner := range h.Owner {
		ids[owner] = append(ids[owner], id)
	}
	out := []Profile{}
	for _, ordinal := range append([]uint64{u.Profile}, h.New...) {
		p := Profile{Kept: ordinal == u.Profile, Identifiers: []string{}, Events: counts[ordinal]}
		_, id := identity.Name(rules, ids[ordinal])
		p.ID = id.String()
		if p.Kept { // it was named by the rules of its time
			if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT toString(id) FROM profiles FINAL WHERE profile = %d", ordinal)).Scan(&p.ID); err != nil {
				return nil, fmt.Errorf("reading the name of profile %d: %w", ordinal, err)
			}
		}
		for _, id := range ids[ordinal] {
			p.Identifiers = append(p.Identifiers, id.Type+":"+id.Value)
		}
		slices.Sort(p.Identifiers)
		out = append(out, p)
	}
	return out, nil
}

// Send puts a request into the stream and gives its place there.
func Send(ctx context.Context, js jetstream.JetStream, c identity.Cut, now time.Time) (seq uint64, err error) {
	body, err := json.Marshal(map[string]string{"type": c.Type, "value": c.Value, "fromType": c.From.Type, "fromValue": c.From.Value})
	if err != nil {
		return 0, fmt.Errorf("encoding a request to unmerge: %w", err)
	}
	ack, err := js.Publish(ctx, stream.IdentitySubject, stream.Append(nil, stream.Record{Kind: stream.KindUnmerge, Received: now, Body: body}))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStream, err)
	}
	return ack.Sequence, nil
}

// Await waits until ingestion has come past a request, and gives what it decided. It is nil when ctx ends before that, which
// is no error: the request is on the stream's disk.
func Await(ctx context.Context, conn driver.Conn, seq uint64) (*identity.Unmerge, error) {
	for {
		var done uint64
		err := conn.QueryRow(ctx, "SELECT max(last_seq) FROM ingest_log WHERE state = 'done'").Scan(&done)
		switch {
		case ctx.Err() != nil:
			return nil, nil //nolint:nilerr // what was waited for long enough is no failure
		case err != nil:
			return nil, fmt.Errorf("reading how far the stream is stored: %w", err)
		case done >= seq:
			return identity.Recorded(ctx, conn, seq)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil
		}
	}
}
