package sync

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/run"
)

// claimPrefix starts the profile_id of rows of sync_state that are claims. It sorts behind every id.
const claimPrefix = "~claim/"

// claim is a run's right to send for its Sync.
//
// A run writes a row of its own with an epoch above all versions that the Sync has, and then reads all claims. The one
// with the highest epoch (and, of equal ones, the highest token) owns the Sync; every other run that reads that stops.
// Writing before reading means that of two runs that start together at least one sees the other. The owner must not send
// while a request of an older run may be under way: it waits until the older claim was released, or was not renewed for
// longer than any permission to send lasts. A run renews its claim before it sends, so it notices a newer one then; each
// permission ends hold after the renewal began, on the run's own monotonic clock, and ages are computed by the
// warehouse's clock alone. So no two clocks are compared, and no lock is needed, only a store that shows an insert to
// the queries that start after it.
//
// A container that is restarted in its pod finds the claim of its predecessor under its own host name, and need not
// wait: that process has ended.
type claim struct {
	state  *state
	token  string
	host   string
	hold   time.Duration
	now    func() time.Time
	sleep  func(context.Context, time.Duration) error
	sentAt time.Time // when the newest renewal began
}

// renewAfter is the part of hold after which a claim is renewed: the rest is longer than a request may take.
const renewAfter = 5

// rival is another run's claim.
type rival struct {
	token string
	host  string
	epoch uint64
	age   time.Duration
}

// acquire claims the Sync and waits until no older run can be sending.
func (c *claim) acquire(ctx context.Context) error {
	c.token = rand.Text()
	var newest uint64
	err := ask(ctx, func(ctx context.Context) error {
		// Not FINAL: the versions of removed rows count too.
		return c.state.conn.QueryRow(ctx, "SELECT max(version) FROM sync_state WHERE sync = @sync", c.state.args()...).Scan(&newest)
	})
	if err != nil {
		return fmt.Errorf("reading the newest version in the state of %s: %w", c.state.sync, err)
	}
	c.state.epoch = newest>>32 + 1
	if err := c.write(ctx, false); err != nil {
		return err
	}
	for {
		rivals, err := c.rivals(ctx)
		if err != nil {
			return err
		}
		wait := time.Duration(0)
		for _, other := range rivals {
			if other.host != c.host {
				wait = max(wait, c.hold-other.age)
			}
		}
		if wait <= 0 {
			return c.clear(ctx, rivals)
		}
		// The older run may release its claim sooner.
		if err := c.sleep(ctx, min(wait, c.hold/20)); err != nil {
			return err
		}
	}
}

// permit gives a context in which requests may be sent, and fails when a newer run has taken over.
func (c *claim) permit(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if c.now().Sub(c.sentAt) > c.hold/renewAfter {
		if err := c.write(ctx, false); err != nil {
			return nil, nil, err
		}
		if _, err := c.rivals(ctx); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithDeadline(ctx, c.sentAt.Add(c.hold))
	return ctx, cancel, nil
}

// release gives the claim back, so that the next run need not wait.
func (c *claim) release(ctx context.Context) error { return c.write(ctx, true) }

func (c *claim) losesTo(other rival) bool {
	return other.epoch > c.state.epoch || other.epoch == c.state.epoch && other.token > c.token
}

// write renews the claim, or releases it. The row's time is the warehouse's.
func (c *claim) write(ctx context.Context, released bool) error {
	began := c.now()
	if err := c.insert(ctx, c.token, c.host, released); err != nil {
		return err
	}
	c.sentAt = began
	return nil
}

func (c *claim) insert(ctx context.Context, token, host string, released bool) error {
	deleted := 0
	if released {
		deleted = 1
	}
	err := ask(ctx, func(ctx context.Context) error {
		return c.state.conn.Exec(ctx, `INSERT INTO sync_state (sync, profile_id, payload, identifiers, status, reason, at, version, deleted)
SELECT @sync, @key, toUInt64(@epoch), @host, 'pending', 'Claim', now64(3, 'UTC'), toUInt64(@version), toUInt8(@deleted)`,
			c.state.args(clickhouse.Named("key", claimPrefix+token), clickhouse.Named("epoch", c.state.epoch),
				clickhouse.Named("host", host), clickhouse.Named("version", c.state.version()), clickhouse.Named("deleted", deleted))...)
	})
	if err != nil {
		return fmt.Errorf("claiming %s: %w", c.state.sync, err)
	}
	return nil
}

// rivals reads the claims of older runs that were not released. It fails when a newer run owns the Sync, or did: such a
// run clears the claims that it finds, and then this run's own is no longer there.
func (c *claim) rivals(ctx context.Context) ([]rival, error) {
	var rivals []rival
	owned := false
	err := ask(ctx, func(ctx context.Context) error {
		rivals, owned = rivals[:0], false
		rows, err := c.state.conn.Query(ctx, `SELECT profile_id, identifiers, payload, dateDiff('millisecond', at, now64(3, 'UTC'))
FROM sync_state FINAL WHERE sync = @sync AND startsWith(profile_id, @prefix)`,
			c.state.args(clickhouse.Named("prefix", claimPrefix))...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells what went wrong
		for rows.Next() {
			var key string
			var age int64
			var other rival
			if err := rows.Scan(&key, &other.host, &other.epoch, &age); err != nil {
				return err
			}
			other.token, other.age = strings.TrimPrefix(key, claimPrefix), time.Duration(age)*time.Millisecond
			if other.token == c.token {
				owned = true
				continue
			}
			rivals = append(rivals, other)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the claims on %s: %w", c.state.sync, err)
	}
	if !owned || slices.ContainsFunc(rivals, c.losesTo) {
		return nil, run.Fail(reasonRunFailed, "another run of this Sync has started and takes over; this one stops, and what it delivered is recorded")
	}
	return rivals, nil
}

// clear takes away the claims of runs that ended without releasing theirs.
func (c *claim) clear(ctx context.Context, rivals []rival) error {
	for _, other := range rivals {
		if err := c.insert(ctx, other.token, other.host, true); err != nil {
			return err
		}
	}
	return nil
}
