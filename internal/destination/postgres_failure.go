package destination

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kohort.dev/kohort/internal/run"
)

// classify turns an error of a database into the kind that the caller's policy is about. SQLSTATE codes: PostgreSQL
// documentation, appendix A. The server's own words are shown only where they cannot hold a value of a row.
func (p *Postgres) classify(err error, config *pgx.ConnConfig) error {
	var failure *run.Failure
	if errors.As(err, &failure) {
		return err
	}
	host := net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return p.unanswered(err, host)
	}
	code := server.Code
	refuse := func(format string, args ...any) error { return run.Refuse(ReasonUnreachable, format, args...) }
	switch {
	case strings.HasPrefix(code, "28"): // invalid authorization, wrong password, no pg_hba.conf entry
		return refuse("%s refused the login of user %q (SQLSTATE %s); check user and password in the Secret key that spec.sql.dsnSecretRef names", host, config.User, code)
	case code == "3D000":
		return refuse("%s has no database %q; create it, or correct the connection string in the Secret key that spec.sql.dsnSecretRef names", host, config.Database)
	case code == "3F000":
		return refuse("database %q on %s has no schema %q; create it, or change spec.sql.table", config.Database, host, p.schema())
	case code == "42501":
		return refuse("user %q on %s may not do this: %s; grant it USAGE on the schema and SELECT, INSERT, UPDATE and DELETE on table %s, and CREATE on the schema if the table is to be made", config.User, host, privilege(server), p.config.Table)
	case code == "42P01" || code == "42703" || code == "42P10" || code == "42804": // the table changed under us
		p.ready = false // looked at again by the next run, or the next try
		return &UnavailableError{Err: fmt.Errorf("table %s on %s was changed or dropped during the run (SQLSTATE %s)", p.config.Table, host, code)}
	case code == "25006":
		return run.Fail(ReasonUnreachable, "database %q on %s is read-only; let the connection string in the Secret key that spec.sql.dsnSecretRef names point at the primary", config.Database, host)
	case isRowFault(code):
		return &RefusedError{Reason: faultName(code), Message: fault(server)}
	}
	// Everything else, such as too many connections, a shutdown, a deadlock or a full disk, may be well later.
	return &UnavailableError{Overloaded: code == "53300", Err: fmt.Errorf("%s failed with SQLSTATE %s; look at the database's log", host, code)}
}

// unanswered tells why there was no answer of the server.
func (p *Postgres) unanswered(err error, host string) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return &UnavailableError{Err: fmt.Errorf("%s did not answer in time", host)}
	}
	cause := err
	var connect *pgconn.ConnectError // its text names the user; the cause says enough
	if errors.As(err, &connect) {
		cause = connect.Unwrap()
	}
	var dial *net.OpError
	var resolve *net.DNSError
	unconnected := errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &resolve)
	// One address may have several tries, a line each; a status has one line.
	text := strings.ReplaceAll(cause.Error(), "\n", "; ")
	return &UnavailableError{Unconnected: unconnected, Err: fmt.Errorf("connecting to %s: %s; check that it runs and that the host in the Secret key that spec.sql.dsnSecretRef names is right", host, text)}
}

func (p *Postgres) schema() string {
	if len(p.table) > 1 {
		return p.table[0]
	}
	return "public"
}

// privilege describes a missing right: the server names the object, and never a row.
func privilege(server *pgconn.PgError) string {
	return strings.TrimSpace(server.Message)
}

// isRowFault says whether a code is about the values of a row: a data exception (22), or a constraint, index or trigger
// that somebody put on the table (23, P0).
func isRowFault(code string) bool {
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23") || strings.HasPrefix(code, "P0") ||
		code == "54000" || // a value too large for an index
		code == "44000" // a view's check option
}

// faultName gives a reason for a code that is about a row.
func faultName(code string) string {
	switch code {
	case "23505":
		return "UniqueViolation"
	case "23502":
		return "NotNullViolation"
	case "23503":
		return "ForeignKeyViolation"
	case "23514":
		return "CheckViolation"
	case "22P05", "22021":
		return "UntranslatableCharacter"
	case "P0001":
		return "RaisedException"
	}
	return "SQLState" + code
}

// fault describes a refused row without the row: the server's message and detail may quote values, names of columns and
// constraints may not.
func fault(server *pgconn.PgError) string {
	text := "the database refused the row with SQLSTATE " + server.Code
	if server.ConstraintName != "" {
		text += fmt.Sprintf(", constraint %q", server.ConstraintName)
	}
	if server.ColumnName != "" {
		text += fmt.Sprintf(", column %q", server.ColumnName)
	}
	return text
}
