package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
)

const connectTime = 15 * time.Second

// Drivers that spec.sql.driver names.
const (
	driverPostgres = "postgres"
	driverMySQL    = "mysql"
)

// database runs queries. An implementation knows one kind of server.
type database interface {
	// read runs a query in one read-only transaction; arguments are what $1 stands for, if anything. It tells the names of the columns once and then gives each row, as the server makes it; the result
	// is never held as a whole. values are those of the record, in the order of the columns; nil when the record has a
	// fault.
	read(ctx context.Context, query string, arguments []any, columns func([]string) error, row func(r record, values []any) error) error
	close(ctx context.Context)
}

// sql reads the rows of the order's query.
func (p *pull) sql(ctx context.Context) error {
	order := p.Order.SQL
	dsn, err := p.DSN()
	if err != nil {
		return run.Refuse(reasonSecretNotFound, "reading the connection string of spec.sql.dsnSecretRef: %w", err)
	}
	var db database
	switch order.Driver {
	case driverPostgres:
		db, err = connectPostgres(ctx, dsn)
	case driverMySQL:
		db, err = connectMySQL(ctx, dsn)
	default:
		return run.Refuse(reasonRunFailed, "spec.sql.driver %q is unknown; it must be postgres or mysql", order.Driver)
	}
	if err != nil {
		return err
	}
	defer db.close(context.WithoutCancel(ctx))

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
	if err := p.query(ctx, db, arguments, &greatest); err != nil {
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

func (p *pull) query(ctx context.Context, db database, arguments []any, greatest *cursor) error {
	slot := p.Order.Slot.UTC().Format(time.RFC3339)
	equal := newOccurrences()
	take := p.take("the query")
	at, number := -1, int64(0)
	columns := func(names []string) (err error) {
		at, err = columnsOf(names, p.Order.SQL.CursorColumn)
		return err
	}
	return db.read(ctx, p.Order.SQL.Query, arguments, columns, func(r record, values []any) error {
		number++
		r.Number, r.Format = number, mapping.JSON
		if r.fault == nil && at >= 0 {
			greatest.see(values[at])
		}
		r.Origin, r.Moment = []string{"sql", p.Order.Source, fmt.Sprint(equal.next(r.raw))}, slot
		return take(ctx, r)
	})
}

// columnsOf checks the result's columns and finds the cursor's, -1 when there is none.
func columnsOf(columns []string, cursorColumn string) (int, error) {
	at := -1
	seen := map[string]bool{}
	for i, name := range columns {
		if seen[name] {
			return -1, run.Refuse(reasonQueryFailed, "spec.sql.query gives two columns named %q; name each once (AS)", name)
		}
		seen[name] = true
		if name == cursorColumn {
			at = i
		}
	}
	if cursorColumn != "" && at < 0 {
		return -1, run.Refuse(reasonQueryFailed, "spec.sql.query gives no column %q (spec.sql.cursorColumn); it gives %s", cursorColumn, strings.Join(columns, ", "))
	}
	return at, nil
}

// rowOf makes a record of a row's values. shown is what quarantine holds of a row that JSON cannot hold.
func rowOf(columns []string, values []any, shown func() string) (record, []any) {
	object := make(map[string]any, len(columns))
	for i, name := range columns {
		object[name] = values[i]
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return record{raw: shown(), fault: mapping.Unreadable("InvalidRow", "the row holds what JSON cannot: %v", err)}, nil
	}
	if len(raw) > maxRecord {
		return record{raw: string(raw[:maxRecord]), fault: mapping.Unreadable(mapping.TooLarge, "the row is longer than %d bytes as JSON; its beginning is kept", maxRecord)}, values
	}
	return record{raw: string(raw), value: object}, values
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
