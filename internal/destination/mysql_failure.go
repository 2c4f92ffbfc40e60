package destination

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"

	"kohort.dev/kohort/internal/mysqldsn"
	"kohort.dev/kohort/internal/run"
)

// classify turns an error of a database into the kind that the caller's policy is about. Numbers below 1900 are those of
// both servers, 3819 is MySQL's and 4025 MariaDB's (MySQL Server Error Message Reference; mariadb.com/kb, error codes).
// The server's own words are shown only where they cannot hold a value of a row.
func (m *MySQL) classify(err error, config *mysql.Config) error {
	var failure *run.Failure
	if errors.As(err, &failure) {
		return err
	}
	var server *mysql.MySQLError
	if !errors.As(err, &server) {
		return m.unanswered(err, config.Addr)
	}
	refuse := func(format string, args ...any) error { return run.Refuse(ReasonUnreachable, format, args...) }
	switch server.Number {
	case 1045, 1698, 1130, 1129, 1862, 4151: // a wrong password, no such user from this host, a locked or expired one
		return refuse("%s refused the login of user %q (error %d); check user and password in the Secret key that spec.sql.dsnSecretRef names, and that the user may come from this cluster", config.Addr, config.User, server.Number)
	case 1049:
		return refuse("%s has no database %q; create it, or correct the connection string in the Secret key that spec.sql.dsnSecretRef names, or spec.sql.table", config.Addr, m.database(config.DBName, server))
	case 1044, 1142, 1143, 1227, 1370:
		return refuse("user %q on %s may not do this: %s; grant it SELECT, INSERT, UPDATE and DELETE on table %s, and CREATE if the table is to be made", config.User, config.Addr, strings.TrimSpace(server.Message), m.config.Table)
	case 1146, 1054, 1051: // the table changed under us
		m.ready = false // looked at again by the next run, or the next try
		return &UnavailableError{Err: fmt.Errorf("table %s on %s was changed or dropped during the run (error %d)", m.config.Table, config.Addr, server.Number)}
	case 1290, 1792, 1836:
		return run.Fail(ReasonUnreachable, "database %q on %s is read-only; let the connection string in the Secret key that spec.sql.dsnSecretRef names point at the primary", config.DBName, config.Addr)
	}
	if reason, ok := mysqlFault(server); ok && !mysqldsn.IsPassing(server) {
		return &RefusedError{Reason: reason, Message: mysqlFaultText(server)}
	}
	// Everything else, such as too many connections, a shutdown, a deadlock or a full disk, may be well later.
	crowded := server.Number == 1040 || server.Number == 1203
	return &UnavailableError{Overloaded: crowded, Err: fmt.Errorf("%s failed with error %d; look at the database's log", config.Addr, server.Number)}
}

// unanswered tells why there was no answer of the server.
func (m *MySQL) unanswered(err error, host string) error {
	var timeout net.Error
	var dial *net.OpError
	var resolve *net.DNSError
	unconnected := errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &resolve)
	if !unconnected && (errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()) {
		return &UnavailableError{Err: fmt.Errorf("%s did not answer in time", host)}
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	return &UnavailableError{Unconnected: unconnected, Err: fmt.Errorf("connecting to %s: %s; check that it runs and that the host in the Secret key that spec.sql.dsnSecretRef names is right", host, text)}
}

// unknownDatabase is how servers name one.
var unknownDatabase = regexp.MustCompile(`^Unknown database '([^']*)'$`)

// database that is missing: that of the connection string, or that of the table.
func (m *MySQL) database(otherwise string, server *mysql.MySQLError) string {
	if named := unknownDatabase.FindStringSubmatch(server.Message); named != nil {
		return named[1]
	}
	return otherwise
}

// mysqlFault gives the reason of an error that is about the values of a row: a data exception (SQLSTATE 22), or a
// constraint, index or trigger that somebody put on the table (23, 45).
func mysqlFault(server *mysql.MySQLError) (string, bool) {
	switch server.Number {
	case 1062, 1586:
		return "UniqueViolation", true
	case 1048, 1364:
		return "NotNullViolation", true
	case 1216, 1217, 1451, 1452:
		return "ForeignKeyViolation", true
	case 3819, 4025:
		return "CheckViolation", true
	case 1366, 3854:
		return "UntranslatableCharacter", true
	case 1406, 1153, 1118:
		return "ValueTooLong", true
	case 1644:
		return "RaisedException", true
	}
	state := string(server.SQLState[:])
	if strings.HasPrefix(state, "22") || strings.HasPrefix(state, "23") || strings.HasPrefix(state, "45") {
		return fmt.Sprintf("Error%d", server.Number), true
	}
	return "", false
}

// The names of constraints and columns, which their owner chose, in messages that quote values elsewhere. Each stands at the
// end, or at the beginning before anything that a row could say.
var mysqlNames = map[uint16]struct {
	what string
	name *regexp.Regexp
}{
	1062: {"constraint", regexp.MustCompile(`for key '([^']*)'$`)},
	1048: {"column", regexp.MustCompile(`^Column '([^']*)' cannot be null$`)},
	1364: {"column", regexp.MustCompile(`^Field '([^']*)' doesn't have`)},
	1406: {"column", regexp.MustCompile(`^Data too long for column '([^']*)' at row \d+$`)},
	3819: {"constraint", regexp.MustCompile(`^Check constraint '([^']*)' is violated\.$`)},
	4025: {"constraint", regexp.MustCompile("^CONSTRAINT `([^`]*)` failed for")},
}

// mysqlFaultText describes a refused row without the row.
func mysqlFaultText(server *mysql.MySQLError) string {
	text := fmt.Sprintf("the database refused the row with error %d", server.Number)
	if known, ok := mysqlNames[server.Number]; ok {
		if named := known.name.FindStringSubmatch(server.Message); named != nil {
			text += fmt.Sprintf(", %s %q", known.what, named[1])
		}
	}
	return text
}
