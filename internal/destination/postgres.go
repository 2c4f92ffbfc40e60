package destination

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/internal/run"
)

// connectTimeout is how long a database may take for a connection.
const connectTimeout = 10 * time.Second

// PostgresConfig tells which rows of which table a Postgres writes.
type PostgresConfig struct {
	DSNFile  string // the file of the connection string
	Table    string // name, or schema.name
	Audience string // the value of the column audience
}

// Postgres holds one row per audience and member in a table of its own making; docs/destinations/sql.md describes it. Each
// batch is one transaction.
type Postgres struct {
	config PostgresConfig
	table  pgx.Identifier
	holder string
	conn   *pgx.Conn // nil until the first use and after a broken connection
	ready  bool      // the table was there, or made, with the columns that it needs
	trace  *trace    // that is shown statements, if there is one
}

// observe lets a rehearsal see statements.
func (p *Postgres) observe(t *trace) { p.trace = t }

// NewPostgres makes a Postgres; it connects at the first use. It fails when the connection string cannot be used.
func NewPostgres(config PostgresConfig) (*Postgres, error) {
	p := &Postgres{config: config, table: strings.Split(config.Table, ".")}
	dsn, err := p.dsn()
	if err != nil {
		return nil, err
	}
	// Where the rows are, without the login: a new password must not send every row again.
	p.holder = fmt.Sprintf("postgres://%s:%d/%s#%s", dsn.Host, dsn.Port, dsn.Database, config.Table)
	return p, nil
}

// dsn reads the connection string.
func (p *Postgres) dsn() (*pgx.ConnConfig, error) {
	text, err := readSecret(p.config.DSNFile, "spec.sql.dsnSecretRef")
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(text)
	if err != nil { // the error holds parts of the string, and so may hold the password: it is not shown
		return nil, run.Refuse(ReasonInvalidSpec,
			"the Secret key that spec.sql.dsnSecretRef names holds no connection string of the form postgres://user:password@host:5432/database; a password with special characters must be percent-encoded")
	}
	config.ConnectTimeout = connectTimeout
	// No prepared statements: they break behind a pooler that gives each transaction another connection.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "kohort"
	}
	return config, nil
}

// Holder is host, port, database and table.
func (p *Postgres) Holder() string { return p.holder }

// Close closes the connection.
func (p *Postgres) Close() error {
	if p.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn := p.conn
	p.conn, p.ready = nil, false
	return conn.Close(ctx)
}

// connect opens a connection unless there is one, and makes the table unless it is there.
func (p *Postgres) connect(ctx context.Context) error {
	if p.conn != nil && p.conn.IsClosed() {
		p.conn = nil
	}
	if p.conn == nil {
		config, err := p.dsn()
		if err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return p.classify(err, config)
		}
		p.conn = conn
	}
	if p.ready {
		return nil
	}
	if err := p.ensureTable(ctx); err != nil {
		return p.classify(err, p.conn.Config())
	}
	p.ready = true
	return nil
}

// Deliver puts a batch into effect in one transaction; see Destination.
func (p *Postgres) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	statements := p.statements(batch.Operations)
	if err := p.trace.statements(p.holder, statements); err != nil {
		return nil, err
	}
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	err := pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s.text, s.args...); err != nil {
				return fmt.Errorf("%s: %w", s.doing, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, p.classify(err, p.conn.Config())
	}
	return make([]Result, len(batch.Operations)), nil
}

// statements of a batch. Rows are deleted first: no id is in a batch twice, and a row that takes the place of another in
// an index that somebody added to the table must find it free.
func (p *Postgres) statements(operations []Operation) []statement {
	var removed, ids, identifiers, traits []string
	for _, operation := range operations {
		if operation.Op == OpRemove {
			removed = append(removed, operation.ID)
			continue
		}
		ids = append(ids, operation.ID)
		identifiers = append(identifiers, object(operation.Identifiers))
		traits = append(traits, object(operation.Traits))
	}
	table := p.table.Sanitize()
	var out []statement
	if len(removed) > 0 {
		out = append(out, statement{"deleting rows", "DELETE FROM " + table + " WHERE audience = $1 AND profile_id = ANY($2::text[])", []any{p.config.Audience, removed}})
	}
	if len(ids) > 0 {
		out = append(out, statement{"writing rows", "INSERT INTO " + table + ` (audience, profile_id, identifiers, traits, updated_at)
SELECT $1, r.id, r.identifiers::jsonb, r.traits::jsonb, now()
FROM unnest($2::text[], $3::text[], $4::text[]) AS r(id, identifiers, traits)
ON CONFLICT (audience, profile_id) DO UPDATE
SET identifiers = excluded.identifiers, traits = excluded.traits, updated_at = excluded.updated_at`,
			[]any{p.config.Audience, ids, identifiers, traits}})
	}
	return out
}
