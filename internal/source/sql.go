package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kohort.dev/kohort/internal/run"
)

const connectTime = 15 * time.Second

// sql reads the rows of the order's query in one read-only transaction. Rows come as the server makes them and are never
// held as a whole.
func (p *pull) sql(ctx context.Context) error {
	order := p.Order.SQL
	if order.Driver != "postgres" {
		return run.Refuse(reasonRunFailed, "spec.sql.driver %q is unknown; it must be postgres", order.Driver)
	}
	dsn, err := p.DSN()
	if err != nil {
		return run.Refuse(reasonSecretNotFound, "reading the connection string of spec.sql.dsnSecretRef: %w", err)
	}
	conn, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()

	key := "sql " + order.CursorColumn
	var arguments []any
	if order.CursorColumn != "" {
		before, err := p.Cursors.get(ctx, key)
		if err != nil {
			return err
		}
		arguments = []any{nil}
		if before != "" {
			arguments = []any{before}
		}
	}
	greatest := cursor{}
	if err := p.query(ctx, conn, arguments, &greatest); err != nil {
		return err
	}
	if p.hopeless() {
		return p.refuseAll()
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	if order.CursorColumn != "" && greatest.text != "" {
		return p.Cursors.set(ctx, key, greatest.text)
	}
	return nil
}

func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
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
		return conn, nil
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

func (p *pull) query(ctx context.Context, conn *pgx.Conn, arguments []any, greatest *cursor) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return queryError(ctx, "starting a transaction", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// Described first, so that $1 has the type that the query gives it, and not prepared by name, which poolers lose.
	rows, err := tx.Query(ctx, p.Order.SQL.Query, append([]any{pgx.QueryExecModeDescribeExec}, arguments...)...)
	if err != nil {
		return queryError(ctx, "running spec.sql.query", err)
	}
	defer rows.Close()
	columns := rows.FieldDescriptions()
	at, err := columnsOf(columns, p.Order.SQL.CursorColumn)
	if err != nil && rows.Err() == nil && len(columns) > 0 {
		return err
	}
	slot := p.Order.Slot.UTC().Format(time.RFC3339)
	equal := newOccurrences()
	take := p.take("the query")
	for number := int64(1); rows.Next(); number++ {
		r, values := rowRecord(rows, columns)
		r.number = number
		if r.fault == nil && at >= 0 {
			greatest.see(values[at])
		}
		occurrence := equal.next(r.raw)
		r.id = func(kind string, index int) string {
			parts := []string{"sql", p.Order.Source, r.raw, fmt.Sprint(occurrence), fmt.Sprint(index)}
			if kind == "identify" {
				parts = append(parts, slot) // a trait may go from a to b and back: not the same event
			}
			return messageID(parts...)
		}
		if err := take(ctx, r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return queryError(ctx, "running spec.sql.query", err)
	}
	return nil
}

// columnsOf checks the result's columns and finds the cursor's, -1 when there is none.
func columnsOf(columns []pgconn.FieldDescription, cursorColumn string) (int, error) {
	at := -1
	seen := map[string]bool{}
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = column.Name
		if seen[column.Name] {
			return -1, run.Refuse(reasonQueryFailed, "spec.sql.query gives two columns named %q; name each once (AS)", column.Name)
		}
		seen[column.Name] = true
		if column.Name == cursorColumn {
			at = i
		}
	}
	if cursorColumn != "" && at < 0 {
		return -1, run.Refuse(reasonQueryFailed, "spec.sql.query gives no column %q (spec.sql.cursorColumn); it gives %s", cursorColumn, strings.Join(names, ", "))
	}
	return at, nil
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

// cursor is the greatest value of the cursor's column. Texts are ordered by the database's collation, which is not known
// here: of them the last counts, for the query orders by the column.
type cursor struct {
	text   string
	number *big.Rat
	moment time.Time
}

func (c *cursor) see(value any) {
	switch v := value.(type) {
	case nil:
	case json.Number:
		number, ok := new(big.Rat).SetString(v.String())
		if ok && (c.number == nil || cmp.Compare(number.Cmp(c.number), 0) > 0) {
			c.number, c.text = number, v.String()
		}
	case string:
		moment, err := time.Parse(time.RFC3339Nano, v)
		if err == nil && !c.moment.IsZero() && !moment.After(c.moment) {
			return
		}
		c.moment, c.text = moment, v
	default:
		c.text = fmt.Sprint(v)
	}
}
