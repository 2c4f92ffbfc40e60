package front

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/statement"
)

// serve answers a request; on error the caller ends the answer with it. Kind
// is "select", "insert", "other" or, for what did not get that far, "refused".
func (f *Front) serve(r *http.Request, a *answer) (kind string, err error) {
	const refused = "refused"
	u, err := f.authenticate(r)
	if err != nil {
		return refused, err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return refused, refuse(http.StatusMethodNotAllowed, 36, "BAD_ARGUMENTS", "the method %s is not known: send statements with POST", r.Method)
	}
	q, err := parse(r)
	if err != nil {
		return refused, err
	}
	a.idle = f.limits.IdleTimeout
	h := a.w.Header()
	h.Set("X-ClickHouse-Server-Display-Name", displayName)
	h.Set("X-ClickHouse-Timezone", "UTC")

	src := &source{from: http.MaxBytesReader(a.w, r.Body, f.limits.BodyBytes), control: a.control, idle: f.limits.IdleTimeout}
	a.unread = src
	body, err := q.body(src)
	if err != nil {
		return refused, err
	}
	text, ended, err := f.readText(q, body)
	if err != nil {
		return refused, bodyFailure(err)
	}
	s := statement.Parse(text)
	if isHello(q, text) {
		a.begin(q, "Native")
		if err := a.rows(f.hello()); err != nil {
			return "other", err
		}
		return "other", a.finish()
	}
	if !ended && !s.Rows {
		return refused, refuse(http.StatusRequestEntityTooLarge, 62, "SYNTAX_ERROR",
			"the statement is longer than %d bytes", f.limits.QueryBytes)
	}

	if err := f.gate.enter(r.Context()); err != nil {
		return refused, err
	}
	defer f.gate.leave()
	// A GET must not change anything, as in ClickHouse: a link is not a command.
	readOnly := u.readOnly || r.Method == http.MethodGet
	conn, err := f.connect(q, readOnly)
	if err != nil {
		return refused, err
	}
	defer conn.Close()

	// Rows that are all here as VALUES go through the engine's own parser,
	// which knows parameters inside them; all others are streamed.
	streamed := s.Rows && (s.Format != "Values" || !ended)
	parsed := text
	if streamed {
		parsed = s.Text + " FORMAT " + s.Format
	}
	if err := guard(conn, s, parsed, readOnly); err != nil {
		return refused, err
	}
	job := &job{front: f, conn: conn, request: q, answer: a, mark: newMark(), text: text, statement: s}
	if q.queryID == "" {
		q.queryID = job.mark
	}
	h.Set("X-ClickHouse-Query-Id", headerValue(q.queryID))
	stop := f.killOnDone(r.Context(), job.mark)
	defer stop()
	switch {
	case streamed:
		return "insert", job.insert(io.MultiReader(strings.NewReader(s.Inline), body))
	case s.Verb == "INSERT":
		return "insert", job.insertSelf()
	case s.Streams() && !q.whole:
		return "select", job.stream()
	default:
		return "other", job.run()
	}
}

func (f *Front) authenticate(r *http.Request) (user, error) {
	name, password := credentials(r)
	for _, u := range f.users {
		if u.Match(name, password) {
			return u, nil
		}
	}
	if name == "" && password == "" {
		return user{}, refuse(http.StatusUnauthorized, 194, "REQUIRED_PASSWORD", "give a user and a password")
	}
	return user{}, refuse(http.StatusForbidden, 516, "AUTHENTICATION_FAILED", "Authentication failed: password is incorrect, or there is no user with such name")
}

// firstBytes of a body tell whether rows follow an INSERT. They are few, for
// rows that are read as text are copied once more.
const firstBytes = 16 << 10

// readText reads the statement, or as much of it as QueryBytes allows, and
// says whether that is all. When the URL, or the beginning of the body, holds
// an INSERT up to its rows, the rest is left unread.
func (f *Front) readText(q *request, body io.Reader) (text string, ended bool, err error) {
	if len(q.query) > f.limits.QueryBytes {
		return q.query, false, nil
	}
	if s := statement.Parse(q.query); s.Rows && s.Format != "Values" {
		return q.query, false, nil
	}
	text = q.query
	for _, most := range []int{min(len(text)+firstBytes, f.limits.QueryBytes), f.limits.QueryBytes} {
		rest, err := io.ReadAll(io.LimitReader(body, int64(most-len(text)+1)))
		if err != nil {
			return "", false, err
		}
		if text == q.query && text != "" && len(rest) > 0 {
			text += "\n"
		}
		if text += string(rest); len(text) <= most {
			return text, true, nil
		}
		if s := statement.Parse(text); s.Rows && s.Format != "Values" {
			break
		}
	}
	return text, false, nil
}

// connect opens the request's session. Settings are applied with SET, which
// checks their names and values; as arguments of the connection the engine
// would ignore unknown ones.
func (f *Front) connect(q *request, readOnly bool) (*chdb.Conn, error) {
	conn, err := f.engine.Connect()
	if err != nil {
		return nil, err
	}
	if err := session(conn, q, readOnly); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func session(conn *chdb.Conn, q *request, readOnly bool) error {
	if q.database != "" && q.database != "default" {
		if err := conn.Exec("USE `" + escape(q.database, '`') + "`"); err != nil {
			return err
		}
	}
	settings := q.settings
	if readOnly {
		settings = append(settings, chdb.Setting{Name: "readonly", Value: "1"})
	}
	if len(settings) == 0 {
		return nil
	}
	var b strings.Builder
	for i, s := range settings {
		b.WriteString([]string{"SET ", ", "}[min(i, 1)] + s.Name + " = '" + escape(s.Value, '\'') + "'")
	}
	return conn.Exec(b.String())
}

func escape(s string, quote byte) string {
	return strings.NewReplacer(`\`, `\\`, string(quote), `\`+string(quote)).Replace(s)
}

// headerValue keeps a client's text from adding headers of its own.
func headerValue(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// newMark names one statement of this process; it holds letters and digits
// only, so that it can stand in a comment of the SQL.
func newMark() string { return "kohort-" + strings.ToLower(rand.Text()) }

// source reads a body, within a time per read.
type source struct {
	from    io.Reader
	control *http.ResponseController
	idle    time.Duration
	err     error // of the last read; a body that failed is not tried again
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	// A connection that does not know deadlines simply has none.
	_ = s.control.SetReadDeadline(time.Now().Add(s.idle))
	n, err := s.from.Read(p)
	if err != nil {
		// The server goes on reading to notice that the client leaves; that
		// must not end with this body's deadline.
		_ = s.control.SetReadDeadline(time.Time{})
		s.err = err
	}
	return n, err
}

// bodyFailure says what was wrong with a body that could not be read.
func bodyFailure(err error) error {
	var tooLarge *http.MaxBytesError
	var own *failure
	switch {
	case errors.As(err, &own):
		return err
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, 36, "BAD_ARGUMENTS", "the body is larger than %d bytes; send smaller batches", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, 209, "SOCKET_TIMEOUT", "the body stopped arriving")
	case errors.Is(err, context.Canceled):
		return err
	}
	return refuse(http.StatusBadRequest, 33, "CANNOT_READ_ALL_DATA", "reading the body: %s", err)
}
