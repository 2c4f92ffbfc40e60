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
	case a.Class == chdb.Unknown:
		return nil // the engine says what is wrong with it
	case readOnly && a.Class != chdb.ReadOnly:
		return refuse(http.StatusForbidden, 164, "READONLY", "this user can only read")
	case s.FromInfile:
		return denied("FROM INFILE reads files of the server; send the rows in the request's body")
	case a.Class == chdb.Control && queries[s.Verb]:
		return denied("INTO OUTFILE writes files of the server; read the result from the answer")
	case a.Class == chdb.Control && s.Verb == "INSERT":
		return denied("INSERT INTO FUNCTION writes outside the store's tables")
	case s.Verb == "SYSTEM" && (s.Object == "SHUTDOWN" || s.Object == "KILL" || s.Object == "SUSPEND"):
		return denied("SYSTEM %s would end the store; delete its pod instead", s.Object)
	case !queries[s.Verb] && !commands[s.Verb]:
		return denied("the store does not run %s", s.Verb)
	}
	if what := statement.Reaches(text); what != "" {
		return denied("%s reaches files or servers outside the store, which has its own tables only", what)
	}
	return nil
}

// queries are the statements that return rows.
var queries = map[string]bool{
	"SELECT": true, "WITH": true, "FROM": true, "SHOW": true, "DESCRIBE": true, "DESC": true,
	"EXPLAIN": true, "EXISTS": true, "CHECK": true,
}

// commands are the other statements that clients may run.
var commands = map[string]bool{
	"INSERT": true, "CREATE": true, "REPLACE": true, "ALTER": true, "DROP": true, "UNDROP": true, "TRUNCATE": true,
	"RENAME": true, "EXCHANGE": true, "OPTIMIZE": true, "DELETE": true, "UPDATE": true, "ATTACH": true, "DETACH": true,
	"SET": true, "USE": true, "KILL": true, "SYSTEM": true, "BACKUP": true, "RESTORE": true,
}
