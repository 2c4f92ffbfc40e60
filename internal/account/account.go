package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse"
)

// Account is one group of customers as everything that is known says it.
type Account struct {
	ID     string                   `json:"id"`
	Traits map[string]profile.Trait `json:"traits"`
	// Members is the number of customers.
	Members uint64 `json:"members"`
	// Since is the first time that an event named the account, Seen the last, by the time it happened.
	Since time.Time `json:"since"`
	Seen  time.Time `json:"seen"`
}

// Member is a customer who belongs to an account.
type Member struct {
	// ProfileID is the public id of the customer.
	ProfileID string    `json:"profile"`
	Since     time.Time `json:"since"`
	Seen      time.Time `json:"seen"`

	// Ordinal is the place after which the next page begins.
	Ordinal uint64 `json:"-"`
}

// Link is an account that a customer belongs to.
type Link struct {
	Account string    `json:"account"`
	Since   time.Time `json:"since"`
	Seen    time.Time `json:"seen"`
}

// ErrNotFound says that no event has named an account.
var ErrNotFound = errors.New("no such account")

// Get reads an account by its id, exactly as the sources' events write it. It is [ErrNotFound] when there is none.
func Get(ctx context.Context, conn driver.Conn, id string) (*Account, error) {
	a := &Account{ID: id, Traits: map[string]profile.Trait{}}
	ctx = with(ctx, id)
	row := conn.QueryRow(ctx, `SELECT uniqExact(`+profile.Root("m")+`), min(m.since), max(m.seen) FROM account_members AS m `+
		profile.Join("m")+` WHERE m.account = {account:String}`)
	if err := row.Scan(&a.Members, &a.Since, &a.Seen); err != nil {
		return nil, fmt.Errorf("reading the members of an account: %w", err)
	}
	if a.Members == 0 {
		return nil, ErrNotFound
	}
	const traits = `SELECT name, latest.1, latest.2, latest.3, latest.4 FROM
		(SELECT name, argMax((value, source, party, occurred), (occurred, seq)) AS latest FROM account_traits
			WHERE account = {account:String} GROUP BY name)
		WHERE latest.1 != 'null'`
	err := warehouse.Each(ctx, conn, traits, func(rows driver.Rows) error {
		var name, value string
		var t profile.Trait
		err := rows.Scan(&name, &value, &t.Source, &t.Party, &t.Occurred)
		t.Value = json.RawMessage(value)
		a.Traits[name] = t
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the traits of an account: %w", err)
	}
	return a, nil
}

// Members reads up to limit members of an account after a place (0 for the first page), in an order that stays the same
// while nobody is merged. An account that nobody named has none.
func Members(ctx context.Context, conn driver.Conn, id string, after uint64, limit int) ([]Member, error) {
	query := fmt.Sprintf(`SELECT toString(p.id), toUInt64(r.root), r.since, r.seen FROM
			(SELECT %s AS root, min(m.since) AS since, max(m.seen) AS seen FROM account_members AS m %s
				WHERE m.account = {account:String} GROUP BY root HAVING root > %d ORDER BY root LIMIT %d) AS r
			INNER JOIN (SELECT profile, id FROM profiles FINAL) AS p ON p.profile = r.root
			ORDER BY r.root`, profile.Root("m"), profile.Join("m"), after, limit)
	list := []Member{}
	err := warehouse.Each(with(ctx, id), conn, query, func(rows driver.Rows) error {
		var m Member
		err := rows.Scan(&m.ProfileID, &m.Ordinal, &m.Since, &m.Seen)
		list = append(list, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the members of an account: %w", err)
	}
	return list, nil
}

// Links lists the accounts of a customer, given by ordinal, also those that came with a merge; the one that was named
// last comes first.
func Links(ctx context.Context, conn driver.Conn, ordinal uint64) ([]Link, error) {
	query := fmt.Sprintf(`SELECT account, min(since), max(seen) AS last FROM account_members
		WHERE profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor = %[1]d UNION ALL SELECT toUInt64(%[1]d))
		GROUP BY account ORDER BY last DESC, account LIMIT 1000`, ordinal)
	list := []Link{}
	err := warehouse.Each(ctx, conn, query, func(rows driver.Rows) error {
		var l Link
		err := rows.Scan(&l.Account, &l.Since, &l.Seen)
		list = append(list, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the accounts of profile %d: %w", ordinal, err)
	}
	return list, nil
}

func with(ctx context.Context, id string) context.Context {
	return warehouse.WithParameters(ctx, map[string]string{"account": id})
}
