package destination

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/run"
)

// MySQLConfig tells which rows of which table a MySQL writes.
type MySQLConfig struct {
	DSNFile  string // the file of the connection string
	Table    string // name, or database.name
	Audience string // the value of the column audience
}

// MySQL holds one row per audience and member in a table of MySQL or MariaDB of its own making; docs/destinations/sql.md
// describes it. Each batch is one transaction.
type MySQL struct {
	config MySQLConfig
	holder string
	db     *sql.DB // nil until the first use and after a broken connection
	ready  bool    // the table was there, or made, with the columns that it needs
	trace  *trace  // that is shown statements, if there is one
}

// NewMySQL makes a MySQL; it connects at the first use. It fails when the connection string cannot be used.
func NewMySQL(config MySQLConfig) (*MySQL, error) {
	m := &MySQL{config: config}
	dsn, err := m.dsn()
	if err != nil {
		return nil, err
	}
	// Where the rows are, without the login: a new password must not send every row again.
	m.holder = fmt.Sprintf("mysql://%s/%s#%s", dsn.Addr, dsn.DBName, config.Table)
	return m, nil
}

// dsn reads the connection string.
func (m *MySQL) dsn() (*mysql.Config, error) {
	text, err := readSecret(m.config.DSNFile, "spec.sql.dsnSecretRef")
	if err != nil {
		return nil, err
	}
	config, err := mysqldsn.Parse(text, connectTimeout)
	if err != nil {
		return nil, run.Refuse(ReasonInvalidSpec, "the connection string in the Secret key that spec.sql.dsnSecretRef names %w; a password with special characters must be percent-encoded", err)
	}
	config.ReadTimeout, config.WriteTimeout = RequestTimeout, RequestTimeout
	// Values stand in the statement: of a parameter in a derived table neither server knows the type in advance.
	config.InterpolateParams = true
	// Without these a value that does not fit is cut off, and a table without transactions is made where InnoDB is off.
	config.Params["sql_mode"] = "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	return config, nil
}

// observe lets a rehearsal see statements.
func (m *MySQL) observe(t *trace) { m.trace = t }

// Holder is host, port, database and table.
func (m *MySQL) Holder() string { return m.holder }

// Close closes the connection.
func (m *MySQL) Close() error {
	if m.db == nil {
		return nil
	}
	db := m.db
	m.db, m.ready = nil, false
	return db.Close()
}

// connect opens a connection unless there is one, and makes the table unless it is there.
func (m *MySQL) connect(ctx context.Context) (*mysql.Config, error) {
	config, err := m.dsn()
	if err != nil {
		return nil, err
	}
	if m.db == nil {
		connector, err := mysql.NewConnector(config)
		if err != nil { // which Parse has tried
			return nil, run.Refuse(ReasonInvalidSpec, "the connection string in the Secret key that spec.sql.dsnSecretRef names cannot be used")
		}
		m.db = sql.OpenDB(connector)
		m.db.SetMaxOpenConns(1)
	}
	if m.ready {
		return config, nil
	}
	if err := m.ensureTable(ctx, config.DBName); err != nil {
		return nil, m.classify(err, config)
	}
	m.ready = true
	return config, nil
}

// Deliver puts a batch into effect in one transaction; see Destination.
func (m *MySQL) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	statements := m.statements(batch.Operations)
	if err := m.trace.statements(m.holder, statements); err != nil {
		return nil, err
	}
	config, err := m.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.write(ctx, statements); err != nil {
		return nil, m.classify(err, config)
	}
	return make([]Result, len(batch.Operations)), nil
}

func (m *MySQL) write(ctx context.Context, statements []statement) error {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("starting a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.doing, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing rows: %w", err)
	}
	return nil
}

// statements of a batch: rows are deleted first, as in [Postgres.statements]. Not INSERT … ON DUPLICATE KEY UPDATE: with
// another unique index on the table it would change the row of somebody else that is in the way, and say nothing. The
// ids stand twice, because a comparison with the rows to write cannot use an index of another collation.
func (m *MySQL) statements(operations []Operation) []statement {
	var removed, ids, rows []any
	for _, operation := range operations {
		if operation.Op == OpRemove {
			removed = append(removed, operation.ID)
			continue
		}
		ids = append(ids, operation.ID)
		rows = append(rows, operation.ID, object(operation.Identifiers), object(operation.Traits))
	}
	table, audience := m.table(), any(m.config.Audience)
	var out []statement
	if len(removed) > 0 {
		out = append(out, statement{"deleting rows", "DELETE FROM " + table + " WHERE audience = ? AND profile_id IN (" + marks(len(removed)) + ")",
			slices.Concat([]any{audience}, removed)})
	}
	if len(ids) == 0 {
		return out
	}
	given := "(SELECT ? AS id, ? AS identifiers, ? AS traits" + strings.Repeat(" UNION ALL SELECT ?, ?, ?", len(ids)-1) + ") AS r"
	same := "t.audience = ? AND t.profile_id IN (" + marks(len(ids)) + ") AND t.profile_id = r.id COLLATE utf8mb4_bin"
	return append(out,
		statement{"changing rows", "UPDATE " + table + " AS t JOIN " + given + " ON " + same +
			"\nSET t.identifiers = r.identifiers, t.traits = r.traits, t.updated_at = UTC_TIMESTAMP(3)",
			slices.Concat(rows, []any{audience}, ids)},
		statement{"writing rows", "INSERT INTO " + table + " (audience, profile_id, identifiers, traits, updated_at)\n" +
			"SELECT ?, r.id, r.identifiers, r.traits, UTC_TIMESTAMP(3) FROM " + given +
			"\nLEFT JOIN " + table + " AS t ON " + same + "\nWHERE t.profile_id IS NULL",
			slices.Concat([]any{audience}, rows, []any{audience}, ids)})
}

// table as it stands in statements.
func (m *MySQL) table() string { return "`" + strings.ReplaceAll(m.config.Table, ".", "`.`") + "`" }

// marks are n places of arguments.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
