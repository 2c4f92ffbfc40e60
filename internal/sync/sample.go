package sync

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
)

// Sample is what a run would send of one member of the order's audience, the one whose profile is the oldest, as if the
// destination did not hold it. It fails when the audience has no member.
func Sample(ctx context.Context, conn driver.Conn, order run.SyncOrder) (destination.Operation, error) {
	if err := checkSuppression(ctx, conn, order); err != nil {
		return destination.Operation{}, err
	}
	a := &audience{conn: conn, name: order.Audience, types: order.Identifiers, traits: order.Traits, suppress: order.Suppress}
	var profile uint64
	err := ask(ctx, func(ctx context.Context) error {
		return conn.QueryRow(ctx, "SELECT whose FROM ("+a.membersSQL()+") ORDER BY whose LIMIT 1", a.args()...).Scan(&profile)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return destination.Operation{}, run.Refuse(reasonInvalidSpec, "Audience %s has no member; give a record of your own with --identifier", order.Audience)
	}
	if err != nil {
		return destination.Operation{}, fmt.Errorf("reading a member of audience %s: %w", order.Audience, err)
	}
	members, err := a.load(ctx, []uint64{profile}, true)
	if err != nil {
		return destination.Operation{}, err
	}
	if len(members) != 1 {
		return destination.Operation{}, run.Fail(reasonRunFailed, "a member of audience %s left while it was read; try again", order.Audience)
	}
	return newTask(add, members[0], nil, nil, func() uint64 { return 1 }).op, nil
}
