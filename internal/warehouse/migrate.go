package warehouse

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A migration is one file of migrations/, named NNNN_what.sql. It is never edited once released.
type migration struct {
	version    int
	name       string
	statements []string
}

// Migrate brings the schema to the version that this release knows, forward only, and does nothing when it is there.
//
// ClickHouse has no transactions over DDL, so every statement of a migration is written to be repeatable (IF NOT EXISTS)
// and its version is recorded after the last one: whatever a crash leaves is finished by the next call, and two engines
// that migrate at once do no harm. That, the one driver connection, and the engine clauses that a cluster will need
// rewritten are why this is not a library: those track the same table, but over database/sql and per file.
//
// It fails when the schema is newer than this release.
func Migrate(ctx context.Context, conn driver.Conn) error {
	all, err := readMigrations(migrations)
	if err != nil {
		return err
	}
	const ledger = `CREATE TABLE IF NOT EXISTS schema_migrations
		(version UInt32, name String, applied DateTime64(3, 'UTC') DEFAULT now64(3))
		ENGINE = ReplacingMergeTree(applied) ORDER BY version`
	if err := Retry(ctx, func() error { return conn.Exec(ctx, ledger) }); err != nil {
		return fmt.Errorf("making the table of migrations: %w", err)
	}
	have, err := SchemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	if newest := all[len(all)-1].version; have > newest {
		return fmt.Errorf("the warehouse has schema version %d and this release knows %d at most: run the release that migrated it, or a later one", have, newest)
	}
	for _, m := range all {
		if m.version <= have {
			continue
		}
		if err := m.apply(ctx, conn); err != nil {
			return fmt.Errorf("applying migration %s: %w", m.name, err)
		}
	}
	return nil
}

// SchemaVersion is the version of the last migration that was applied, 0 for none.
func SchemaVersion(ctx context.Context, conn driver.Conn) (int, error) {
	var version uint32
	err := Retry(ctx, func() error {
		return conn.QueryRow(ctx, "SELECT max(version) FROM schema_migrations").Scan(&version)
	})
	if err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return int(version), nil
}

func (m migration) apply(ctx context.Context, conn driver.Conn) error {
	for _, statement := range m.statements {
		if err := Retry(ctx, func() error { return conn.Exec(ctx, statement) }); err != nil {
			return fmt.Errorf("%q: %w", firstLine(statement), err)
		}
	}
	return Retry(ctx, func() error {
		return Insert(ctx, conn, "schema_migrations", "",
			Column{"version", "UInt32", []uint32{uint32(m.version)}}, Column{"name", "String", []string{m.name}})
	})
}

// readMigrations gives the migrations of files, oldest first; their versions are 1, 2, 3 and so on.
func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s: its name must start with %04d_", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading migration %s: %w", name, err)
		}
		all = append(all, migration{version: version, name: path.Base(name), statements: splitStatements(string(text))})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there are no migrations")
	}
	return all, nil
}

// splitStatements cuts a file at the semicolons that end a line and drops lines that are comments.
func splitStatements(text string) []string {
	var statements []string
	var current strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		body, ends := strings.CutSuffix(strings.TrimRight(line, " \t\r\n"), ";")
		current.WriteString(body)
		current.WriteByte('\n')
		if ends {
			statements = append(statements, strings.TrimSpace(current.String()))
			current.Reset()
		}
	}
	if rest := strings.TrimSpace(current.String()); rest != "" {
		statements = append(statements, rest)
	}
	return statements
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
