// Package crm is the demo's customer database: a table of PostgreSQL that salespeople would keep, and that a sql Source
// reads.
package crm

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/test/demo/population"
)

// schema is what the shop's database looks like: the CRM's table, whose updated_at a trigger would set in a real shop, and
// marketing's own corner, where a Destination keeps its table.
const schema = `
CREATE SCHEMA IF NOT EXISTS marketing;
CREATE TABLE IF NOT EXISTS customers (
	customer_id text PRIMARY KEY,
	name        text NOT NULL,
	email       text NOT NULL,
	phone       text NOT NULL,
	country     text NOT NULL,
	plan        text NOT NULL,
	signed_up   timestamptz NOT NULL,
	updated_at  timestamptz NOT NULL
)`

// Load makes the table hold the customers, and returns how many rows it added or changed. Readers see all of it or
// nothing: a reader with a cursor would never come back for a row that appeared behind it.
func Load(ctx context.Context, dsn string, customers []population.Customer) (changed int64, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, fmt.Errorf("connecting to the CRM's database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // what matters is committed by then
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, schema); err != nil {
			return fmt.Errorf("making the table: %w", err)
		}
		if _, err := tx.Exec(ctx, `CREATE TEMPORARY TABLE arriving (LIKE customers) ON COMMIT DROP`); err != nil {
			return fmt.Errorf("making room for the rows: %w", err)
		}
		columns := []string{"customer_id", "name", "email", "phone", "country", "plan", "signed_up", "updated_at"}
		rows := pgx.CopyFromSlice(len(customers), func(i int) ([]any, error) {
			c := customers[i]
			return []any{c.UserID, c.Name, c.Email, c.Phone, c.Country, c.Plan, c.SignedUp, c.Updated}, nil
		})
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"arriving"}, columns, rows); err != nil {
			return fmt.Errorf("copying the rows: %w", err)
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO customers SELECT * FROM arriving
			ON CONFLICT (customer_id) DO UPDATE SET
				name = excluded.name, email = excluded.email, phone = excluded.phone, country = excluded.country,
				plan = excluded.plan, signed_up = excluded.signed_up, updated_at = excluded.updated_at
			WHERE customers IS DISTINCT FROM excluded`)
		if err != nil {
			return fmt.Errorf("storing the rows: %w", err)
		}
		changed = tag.RowsAffected()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("loading the CRM: %w", err)
	}
	return changed, nil
}
