package front

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"

	"kohort.dev/kohort/internal/store/chdb"
)

// answer writes a response. Nothing is sent before the first rows are there,
// so that an early failure still has its HTTP status.
type answer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	unread  io.Reader // the request's body; nil until it may be read
	out     io.Writer // what rows are written to; nil until begin
	zip     *gzip.Writer
	framed  bool
	tag     string
	status  int
	code    int // ClickHouse's error code, 0 for success
}

// begin sends the headers of a success.
func (a *answer) begin(q *request, format string) {
	h := a.w.Header()
	h.Set("Content-Type", contentType(format))
	h.Set("X-ClickHouse-Format", format)
	a.tag = newTag()
	h.Set("X-ClickHouse-Exception-Tag", a.tag)
	a.out = a.w
	switch {
	case q.compress:
		a.framed = true
		a.out = &framed{to: a.w, c: q.codec.writer()}
	case q.gzip:
		h.Set("Content-Encoding", "gzip")
		// The writer cannot fail: the level is valid.
		a.zip, _ = gzip.NewWriterLevel(a.w, gzip.BestSpeed)
		a.out = a.zip
	}
	a.status = http.StatusOK
	a.w.WriteHeader(http.StatusOK)
}

// rows sends a part of the result.
func (a *answer) rows(chunk []byte) error {
	if a.idle > 0 {
		// A writer that does not know deadlines simply has none.
		_ = a.control.SetWriteDeadline(time.Now().Add(a.idle))
	}
	if _, err := a.out.Write(chunk); err != nil {
		return fmt.Errorf("sending the result: %w", err)
	}
	return nil
}

// finish ends a success.
func (a *answer) finish() error {
	if a.zip != nil {
		return a.zip.Close()
	}
	return nil
}

// empty answers a statement that has no result.
func (a *answer) empty(s chdb.Stats) {
	a.summary(s)
	a.status = http.StatusOK
	a.w.WriteHeader(http.StatusOK)
}

// summary sets ClickHouse's header of what a statement did.
func (a *answer) summary(s chdb.Stats) {
	text := func(n uint64) string { return strconv.FormatUint(n, 10) }
	// Strings marshal without fail.
	b, _ := json.Marshal(map[string]string{
		"read_rows": text(s.RowsRead), "read_bytes": text(s.BytesRead),
		"written_rows": text(s.RowsWritten), "written_bytes": text(s.BytesWritten),
		"result_rows": text(s.RowsReturned),
	})
	a.w.Header().Set("X-ClickHouse-Summary", string(b))
}

// fail ends the response with an error: as a status when nothing was sent,
// else as the exception block that ClickHouse's clients look for.
func (a *answer) fail(err error) {
	code, status, text, retry := describe(err)
	a.code = code
	if a.out != nil {
		a.breakOff(text)
		return
	}
	a.drain()
	a.status = status
	h := a.w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	if retry {
		h.Set("Retry-After", "1")
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
	}
	a.w.WriteHeader(status)
	// The client may be gone; there is nobody else to tell.
	_, _ = io.WriteString(a.w, text+"\n")
}

// drainBytes is how much of a refused body is read and dropped. A client that
// still sends when the connection closes sees "broken pipe", not the reason.
const drainBytes = 64 << 20

func (a *answer) drain() {
	if a.unread != nil {
		// Whatever goes wrong, the answer that follows is all there is to say.
		_, _ = io.CopyN(io.Discard, a.unread, drainBytes)
	}
}

// exceptionBytes is the longest exception text that clients accept within a
// result (16 KiB with its frame).
const exceptionBytes = 15 << 10

// breakOff ends a result that had begun. The block's layout is that of
// WriteBufferFromHTTPServerResponse.cpp.
func (a *answer) breakOff(text string) {
	if len(text) > exceptionBytes {
		text = text[:exceptionBytes]
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", a.tag, text, len(text)+1, a.tag)
	out := a.out
	if a.framed {
		// Not compressed, so that clients which search the raw bytes find it.
		out = &framed{to: a.w, c: compress.NewWriter(compress.LevelZero, compress.None)}
	}
	if _, err := out.Write(b.Bytes()); err == nil && a.zip != nil {
		_ = a.zip.Close()
	}
}

// newTag is the random mark of a response's exception block.
func newTag() string { return strings.ToLower(rand.Text()[:16]) }

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSON") && !strings.Contains(format, "EachRow"):
		return "application/json; charset=UTF-8"
	case strings.Contains(format, "JSON"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(format, "TSV"), strings.HasPrefix(format, "TabSeparated"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "Pretty"), format == "Vertical", format == "Values", format == "LineAsString":
		return "text/plain; charset=UTF-8"
	}
	return "application/octet-stream"
}
