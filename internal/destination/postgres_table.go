package destination

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// postgresColumns are those that the table must have, with their types as format_type writes them.
var postgresColumns = []column{
	{"audience", []string{"text"}},
	{"profile_id", []string{"text"}},
	{"identifiers", []string{"jsonb"}},
	{"traits", []string{"jsonb"}},
	{"updated_at", []string{"timestamp with time zone"}},
}

// createTable is what ensureTable runs, and what docs/destinations/sql.md gives to those who make the table themselves.
const createTable = `CREATE TABLE IF NOT EXISTS %s (
    audience    text        NOT NULL,
    profile_id  text        NOT NULL,
    identifiers jsonb       NOT NULL,
    traits      jsonb       NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (audience, profile_id)
)`

// ensureTable makes the table if it is missing, and otherwise checks that it is one that rows can be held in. It looks
// first: CREATE TABLE IF NOT EXISTS wants the right to create even if there is nothing to do.
func (p *Postgres) ensureTable(ctx context.Context) error {
	var kind string
	err := p.conn.QueryRow(ctx, "SELECT coalesce((SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)), '')", p.table.Sanitize()).Scan(&kind)
	if err != nil {
		return fmt.Errorf("looking for table %s: %w", p.config.Table, err)
	}
	if kind == "" {
		if _, err := p.conn.Exec(ctx, fmt.Sprintf(createTable, p.table.Sanitize())); err != nil {
			return fmt.Errorf("making table %s: %w", p.config.Table, err)
		}
		return nil
	}
	return p.checkTable(ctx)
}

// checkTable compares the table's columns and keys with those that are needed.
func (p *Postgres) checkTable(ctx context.Context) error {
	rows, err := p.conn.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = '' AND attgenerated = ''
FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, p.table.Sanitize())
	if err != nil {
		return fmt.Errorf("reading the columns of table %s: %w", p.config.Table, err)
	}
	found, needed := map[string]string{}, []string{}
	var name, kind string
	var mustBeGiven bool
	_, err = pgx.ForEachRow(rows, []any{&name, &kind, &mustBeGiven}, func() error {
		found[name] = kind
		if mustBeGiven {
			needed = append(needed, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the columns of table %s: %w", p.config.Table, err)
	}
	if problems := mismatches(postgresColumns, found, needed); len(problems) > 0 {
		return mismatched(p.config.Table, problems)
	}
	var keyed bool
	err = p.conn.QueryRow(ctx, `SELECT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indnkeyatts = 2
      AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
           WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:1])) = ARRAY['audience', 'profile_id'])`,
		p.table.Sanitize()).Scan(&keyed)
	if err != nil {
		return fmt.Errorf("reading the keys of table %s: %w", p.config.Table, err)
	}
	if !keyed {
		return unkeyed(p.config.Table)
	}
	return nil
}
