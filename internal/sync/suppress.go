package sync

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/run"
)

// suppressedSQL gives the surviving ordinals of those who must not be at the destination.
func suppressedSQL() string {
	return "SELECT DISTINCT " + profile.Root("x") + ` AS whose
FROM (SELECT profile FROM memberships FINAL WHERE audience IN @suppress AND deleted = 0) AS x ` + profile.Join("x")
}

// suppressed counts the members who are kept from the destination.
func (a *audience) suppressed(ctx context.Context) (count uint64, err error) {
	if len(a.suppress) == 0 {
		return 0, nil
	}
	query := "SELECT uniqExact(" + profile.Root("m") + ") FROM (SELECT profile FROM memberships FINAL WHERE audience = @audience AND deleted = 0) AS m " +
		profile.Join("m") + " WHERE " + profile.Root("m") + " IN (" + suppressedSQL() + ")"
	err = ask(ctx, func(ctx context.Context) error { return a.conn.QueryRow(ctx, query, a.args()...).Scan(&count) })
	if err != nil {
		return 0, fmt.Errorf("counting the suppressed members of audience %s: %w", a.name, err)
	}
	return count, nil
}

// checkSuppression fails when it is not known who is suppressed: an audience that was never evaluated has no members yet.
func checkSuppression(ctx context.Context, conn driver.Conn, order run.SyncOrder) error {
	for _, name := range order.Suppress {
		other := audience{conn: conn, name: name}
		revision, err := other.revision(ctx)
		if err != nil {
			return err
		}
		if revision == 0 {
			return run.Fail(reasonSuppression, "audience %s, which spec.suppress of Destination %s names, has not been evaluated yet, so nobody was added; see its condition Evaluated",
				name, order.Destination)
		}
	}
	return nil
}
