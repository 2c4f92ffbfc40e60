package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kohort.dev/kohort/internal/run"
)

// postgres is a connection to PostgreSQL.
type postgres struct{ conn *pgx.Conn }

func connectPostgres(ctx context.Context, dsn string) (*postgres, error) {
	config, err := pgx.ParseConfig(strings.TrimSpace(dsn))
	if err != nil { // its text holds parts of the string
		return nil, run.Refuse(reasonSourceUnreachable, "the connection string of spec.sql.dsnSecretRef is not valid; write postgres://user:password@host:5432/database")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "kohort"
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		return &postgres{conn}, nil
	}
	where := fmt.Sprintf("database %s on %s:%d", config.Database, config.Host, config.Port)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !passing(refused) {
		return nil, run.Refuse(reasonSourceUnreachable, "%s refuses user %s: %s (SQLSTATE %s); correct the Secret of spec.sql.dsnSecretRef",
			where, config.User, refused.Message, refused.Code)
	}
	return nil, run.Fail(reasonSourceUnreachable, "connecting to %s: %w", where, shortCause(err))
}

// shortCause leaves out what pgx says about its configuration.
func shortCause(err error) error {
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) {
		return failed.Unwrap()
	}
	return err
}

func (p *postgres) close(ctx context.Context) { _ = p.conn.Close(ctx) }

func (p *postgres) read(ctx context.Context, query string, arguments []any, columns func([]string) error, row func(record, []any) error) error {
	tx, err := p.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return queryError(ctx, "starting a transaction", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// Described first, so that $1 has the type that the query gives it, and not prepared by name, which poolers lose.
	rows, err := tx.Query(ctx, query, append([]any{pgx.QueryExecModeDescribeExec}, arguments...)...)
	if err != nil {
		return queryError(ctx, "running spec.sql.query", err)
	}
	defer rows.Close()
	fields := rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = field.Name
	}
	if err := columns(names); err != nil && rows.Err() == nil && len(fields) > 0 {
		return err
	}
	for rows.Next() {
		if err := row(rowRecord(rows, fields, names)); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return queryError(ctx, "running spec.sql.query", err)
	}
	return nil
}

// passing says whether a server's error may be gone later: it is shutting down, overloaded, or was disturbed by others.
func passing(err *pgconn.PgError) bool {
	switch err.Code[:min(2, len(err.Code))] {
	case "08", "40", "53", "55", "57", "58", "XX":
		return true
	}
	return false
}

func queryError(ctx context.Context, doing string, err error) error {
	var refused *pgconn.PgError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &refused):
		return run.Fail(reasonSourceUnreachable, "%s: %w", doing, err)
	case passing(refused):
		return run.Fail(reasonQueryFailed, "%s: %s (SQLSTATE %s)", doing, redact(refused.Message), refused.Code)
	}
	message := refused.Message
	if strings.HasPrefix(refused.Code, "22") || strings.HasPrefix(refused.Code, "23") { // names a value, not a part of the query
		message = redact(message)
	}
	where := ""
	if refused.Position > 0 {
		where = fmt.Sprintf(" at character %d", refused.Position)
	}
	return run.Refuse(reasonQueryFailed, "%s: %s%s (SQLSTATE %s); correct the query", doing, message, where, refused.Code)
}
