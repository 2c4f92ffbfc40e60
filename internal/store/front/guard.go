package front

import (
	"net/http"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/statement"
)

// guard refuses what no client may run. The engine's own parser counts and
// classifies; the table functions and engines that reach files or the network
// are not granted to the engine's user in the first place.
//
// text is what the engine would parse: the statement without streamed rows.
func guard(conn *chdb.Conn, s statement.Statement, text string, readOnly bool) error {
	a, err := conn.Classify(text)
	if err != nil {
		return err
	}
	denied := func(format string, args ...any) error {
		return refuse(http.StatusForbidden, 497, "ACCESS_DENIED", format, args...)
	}
	switch {
	case a.Statements > 1:
		return refuse(http.StatusBadRequest, 62, "SYNTAX_ERROR", "the text holds %d statements; send one per request", a.Statements)
	case s.FromInfile:
		return denied("FROM INFILE reads files of the server; send the rows in the request's body")
	case readOnly && a.Class != chdb.ReadOnly && a.Class != chdb.Unknown:
		return refuse(http.StatusForbidden, 164, "READONLY", "this user can only read")
	case a.Class == chdb.Control:
		return control(s, denied)
	}
	return nil
}

// control lets the statements through that manage the server, and neither
// those that write files of it nor those that end it.
func control(s statement.Statement, denied func(string, ...any) error) error {
	switch s.Verb {
	case "SET", "USE", "KILL", "ATTACH", "DETACH", "BACKUP", "RESTORE":
		return nil
	case "SYSTEM":
		switch s.Object {
		case "SHUTDOWN", "KILL", "SUSPEND":
			return denied("SYSTEM %s would end the store; delete its pod instead", s.Object)
		}
		return nil
	case "INSERT":
		return denied("INSERT INTO FUNCTION writes outside the store's tables")
	}
	return denied("INTO OUTFILE writes files of the server; read the result from the answer")
}
