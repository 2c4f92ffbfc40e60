package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/run"
)

// mysqlServer is a connection to MySQL or MariaDB.
type mysqlServer struct{ db *sql.DB }

// connectMySQL connects to mysql://user:password@host:3306/database; see [mysqldsn.Parse].
func connectMySQL(ctx context.Context, dsn string) (*mysqlServer, error) {
	config, err := mysqldsn.Parse(strings.TrimSpace(dsn), connectTime)
	if err != nil {
		return nil, run.Refuse(reasonSourceUnreachable, "the connection string of spec.sql.dsnSecretRef %w", err)
	}
	connector, err := mysql.NewConnector(config)
	if err != nil { // which Parse has tried
		return nil, run.Refuse(reasonSourceUnreachable, "the connection string of spec.sql.dsnSecretRef cannot be used")
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		where := fmt.Sprintf("database %s on %s", config.DBName, config.Addr)
		var refused *mysql.MySQLError
		if errors.As(err, &refused) && !mysqldsn.IsPassing(refused) {
			return nil, run.Refuse(reasonSourceUnreachable, "%s refuses user %s (error %d); correct the Secret of spec.sql.dsnSecretRef", where, config.User, refused.Number)
		}
		return nil, run.Fail(reasonSourceUnreachable, "connecting to %s: %w", where, err)
	}
	return &mysqlServer{db}, nil
}

func (m *mysqlServer) close(context.Context) { _ = m.db.Close() }

func (m *mysqlServer) read(ctx context.Context, query string, arguments []any, columns func([]string) error, row func(record, []any) error) error {
	tx, err := m.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return mysqlError(ctx, "starting a transaction", err)
	}
	defer func() { _ = tx.Rollback() }()
	if len(arguments) == 1 {
		var count int
		query, count = placeholders(query)
		arguments = slices.Repeat(arguments, count)
	}
	// Prepared, so that values come in their types and not as texts.
	statement, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return mysqlError(ctx, "running spec.sql.query", err)
	}
	defer func() { _ = statement.Close() }()
	rows, err := statement.QueryContext(ctx, arguments...)
	if err != nil {
		return mysqlError(ctx, "running spec.sql.query", err)
	}
	defer func() { _ = rows.Close() }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return mysqlError(ctx, "reading the result of spec.sql.query", err)
	}
	names := make([]string, len(types))
	for i, column := range types {
		names[i] = column.Name()
	}
	if err := columns(names); err != nil {
		return err
	}
	values, into := make([]any, len(types)), make([]any, len(types))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return mysqlError(ctx, "reading a row", err)
		}
		read := make([]any, len(values))
		for i, value := range values {
			read[i] = mysqlValue(types[i].DatabaseTypeName(), value)
		}
		if err := row(rowOf(names, read, func() string { return fmt.Sprint(values...) })); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return mysqlError(ctx, "running spec.sql.query", err)
	}
	return nil
}

// placeholders writes each $1 of a query as MySQL writes it and counts them. What stands in quotes or comments stays.
func placeholders(query string) (string, int) {
	var out strings.Builder
	count := 0
	for i := 0; i < len(query); {
		rest := query[i:]
		size := 1
		switch {
		case strings.HasPrefix(rest, "$1"):
			out.WriteByte('?')
			count++
			i += 2
			continue
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			size = quotedSize(rest)
		case strings.HasPrefix(rest, "-- ") || rest[0] == '#':
			size = upTo(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			size = upTo(rest, "*/")
		}
		out.WriteString(rest[:size])
		i += size
	}
	return out.String(), count
}

// quotedSize is the size of what a quote begins, with its end; doubled quotes and backslashes do not end it.
func quotedSize(text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote != '`':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

func upTo(text, end string) int {
	if at := strings.Index(text, end); at >= 0 {
		return at + len(end)
	}
	return len(text)
}

// mysqlOfQuery are the errors whose text names a part of the query and no value.
func mysqlOfQuery(number uint16) bool {
	switch number {
	case 1044, 1049, 1052, 1054, 1060, 1064, 1109, 1142, 1143, 1146, 1305, 1370, 1792:
		return true
	}
	return false
}

func mysqlError(ctx context.Context, doing string, err error) error {
	var refused *mysql.MySQLError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &refused):
		return run.Fail(reasonSourceUnreachable, "%s: %w", doing, err)
	case mysqldsn.IsPassing(refused):
		return run.Fail(reasonQueryFailed, "%s: %s (error %d)", doing, redact(refused.Message), refused.Number)
	}
	message := refused.Message
	if !mysqlOfQuery(refused.Number) {
		message = redact(strings.ReplaceAll(message, "'", `"`))
	}
	return run.Refuse(reasonQueryFailed, "%s: %s (error %d); correct the query", doing, message, refused.Number)
}
