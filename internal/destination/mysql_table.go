package destination

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// mysqlColumns are those that the table must have. MariaDB writes json as longtext.
var mysqlColumns = []column{
	{"audience", []string{"varchar", "char"}},
	{"profile_id", []string{"char", "varchar"}},
	{"identifiers", []string{"json", "longtext"}},
	{"traits", []string{"json", "longtext"}},
	{"updated_at", []string{"datetime", "timestamp"}},
}

// createMySQLTable is what ensureTable runs, and what docs/destinations/sql.md gives to those who make the table
// themselves.
const createMySQLTable = `CREATE TABLE IF NOT EXISTS %s (
    audience    varchar(253) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    profile_id  char(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    identifiers json         NOT NULL,
    traits      json         NOT NULL,
    updated_at  datetime(3)  NOT NULL,
    PRIMARY KEY (audience, profile_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4`

// ensureTable makes the table if it is missing, and otherwise checks that it is one that rows can be held in. It looks
// first: CREATE TABLE IF NOT EXISTS wants the right to create even if there is nothing to do.
func (m *MySQL) ensureTable(ctx context.Context, database string) error {
	schema, name, qualified := strings.Cut(m.config.Table, ".")
	if !qualified {
		schema, name = database, schema
	}
	var engine string
	err := m.db.QueryRowContext(ctx, "SELECT coalesce(engine, table_type) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", schema, name).Scan(&engine)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := m.db.ExecContext(ctx, fmt.Sprintf(createMySQLTable, m.table())); err != nil {
			return fmt.Errorf("making table %s: %w", m.config.Table, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("looking for table %s: %w", m.config.Table, err)
	case !strings.EqualFold(engine, "InnoDB"):
		return run.Refuse(ReasonTableMismatch, "table %s is of the engine %s, which has no transactions; change it (ALTER TABLE … ENGINE = InnoDB), or name another table in spec.sql.table, which is made when missing", m.config.Table, engine)
	}
	return m.checkTable(ctx, schema, name)
}

// checkTable compares the table's columns and keys with those that are needed.
func (m *MySQL) checkTable(ctx context.Context, schema, name string) error {
	found, needed, err := m.columns(ctx, schema, name)
	if err != nil {
		return fmt.Errorf("reading the columns of table %s: %w", m.config.Table, err)
	}
	if problems := mismatches(mysqlColumns, found, needed); len(problems) > 0 {
		return mismatched(m.config.Table, problems)
	}
	var keys int
	err = m.db.QueryRowContext(ctx, `SELECT count(*) FROM (
    SELECT index_name FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? AND non_unique = 0
    GROUP BY index_name
    HAVING count(*) = 2 AND sum(column_name IN ('audience', 'profile_id') AND sub_part IS NULL) = 2) AS k`, schema, name).Scan(&keys)
	if err != nil {
		return fmt.Errorf("reading the keys of table %s: %w", m.config.Table, err)
	}
	if keys == 0 {
		return unkeyed(m.config.Table)
	}
	return nil
}

// columns of a table by name, and those that must be given a value.
func (m *MySQL) columns(ctx context.Context, schema, name string) (found map[string]string, needed []string, err error) {
	rows, err := m.db.QueryContext(ctx, `SELECT column_name, data_type, is_nullable = 'NO' AND column_default IS NULL
    AND extra NOT LIKE '%auto_increment%' AND coalesce(generation_expression, '') = ''
FROM information_schema.columns WHERE table_schema = ? AND table_name = ?`, schema, name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells what went wrong
	found = map[string]string{}
	for rows.Next() {
		var column, kind string
		var mustBeGiven bool
		if err := rows.Scan(&column, &kind, &mustBeGiven); err != nil {
			return nil, nil, err
		}
		found[column] = kind
		if mustBeGiven {
			needed = append(needed, column)
		}
	}
	return found, needed, rows.Err()
}
