package chdb

import (
	"errors"
	"runtime"
	"unsafe"
)

// Setting is one query setting of a connection, such as max_threads=1.
type Setting struct{ Name, Value string }

// Param binds {Name:Type} in a statement. Value is text in the escaped form
// of ClickHouse's HTTP interface (TSV escapes), and is never spliced into SQL.
type Param struct{ Name, Value string }

// Stats is what a statement did.
type Stats struct {
	RowsReturned uint64 // rows of the result
	RowsRead     uint64 // rows read from storage
	BytesRead    uint64 // bytes read from storage, uncompressed
	RowsWritten  uint64 // with those that materialized views wrote
	BytesWritten uint64
}

func (s *Stats) add(o Stats) {
	s.RowsReturned += o.RowsReturned
	s.RowsRead += o.RowsRead
	s.BytesRead += o.BytesRead
	s.RowsWritten += o.RowsWritten
	s.BytesWritten += o.BytesWritten
}

// Conn is one session of the engine. It runs one statement at a time and must
// not be used by two goroutines at once.
type Conn struct {
	lib    *Library
	cell   uintptr
	handle uintptr
}

// Close ends the session. Every Rows and Insert of it must be closed before.
func (c *Conn) Close() {
	if c.cell == 0 {
		return
	}
	c.lib.c.closeConn(c.cell)
	c.cell, c.handle = 0, 0
}

// Query runs one statement and returns its whole result in the given output
// format. An error of the engine is an [*Exception].
func (c *Conn) Query(sql, format string, params ...Param) ([]byte, Stats, error) {
	p := newParams(params)
	defer p.unpin()
	sqlPtr, sqlLen := bytesOf(sql)
	formatPtr, formatLen := bytesOf(format)
	res := c.lib.c.query(c.handle, sqlPtr, sqlLen, formatPtr, formatLen, p.names, p.nameLens, p.values, p.valueLens, p.count)
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	return c.lib.take(res)
}

// Exec runs one statement and drops its result.
func (c *Conn) Exec(sql string, params ...Param) error {
	_, _, err := c.Query(sql, "Null", params...)
	return err
}

// Rows is the result of a SELECT, read chunk by chunk.
type Rows struct {
	conn  *Conn
	res   uintptr
	stats Stats
	done  bool
}

// Stream starts a SELECT (or WITH … SELECT: the engine streams nothing else)
// whose result is fetched with [Rows.Next]. The caller closes the Rows.
func (c *Conn) Stream(sql, format string, params ...Param) (*Rows, error) {
	p := newParams(params)
	defer p.unpin()
	sqlPtr, sqlLen := bytesOf(sql)
	formatPtr, formatLen := bytesOf(format)
	res := c.lib.c.streamQuery(c.handle, sqlPtr, sqlLen, formatPtr, formatLen, p.names, p.nameLens, p.values, p.valueLens, p.count)
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if res == 0 {
		return nil, errNoResult
	}
	if msg := c.lib.c.resultError(res); msg != "" {
		c.lib.c.resultDestroy(res)
		return nil, ParseException(msg)
	}
	return &Rows{conn: c, res: res}, nil
}

// Next returns the next chunk of the result, a copy that the caller owns, or
// nil at its end. After an error the Rows are finished.
func (r *Rows) Next() ([]byte, error) {
	if r.done {
		return nil, nil
	}
	chunk, stats, err := r.conn.lib.take(r.conn.lib.c.streamFetch(r.conn.handle, r.res))
	if err != nil {
		r.done = true
		return nil, err
	}
	// The engine reports an empty chunk at the end, and only there.
	if len(chunk) == 0 {
		r.done = true
		return nil, nil
	}
	r.stats.add(stats)
	return chunk, nil
}

// Stats sums up the chunks fetched so far.
func (r *Rows) Stats() Stats { return r.stats }

// Close cancels what still runs and frees the result.
func (r *Rows) Close() {
	if r.res == 0 {
		return
	}
	if !r.done {
		r.conn.lib.c.streamCancel(r.conn.handle, r.res)
	}
	r.conn.lib.c.resultDestroy(r.res)
	r.res, r.done = 0, true
}

// Insert is an INSERT whose data is still being sent.
type Insert struct {
	conn   *Conn
	stream uintptr
}

// Insert starts an INSERT. Sql is the statement without its FORMAT clause,
// format names the encoding of the data. The caller closes the Insert.
func (c *Conn) Insert(sql, format string, params ...Param) (*Insert, error) {
	p := newParams(params)
	defer p.unpin()
	sqlPtr, sqlLen := bytesOf(sql)
	formatPtr, formatLen := bytesOf(format)
	stream := c.lib.c.insert(c.handle, sqlPtr, sqlLen, formatPtr, formatLen, p.names, p.nameLens, p.values, p.valueLens, p.count)
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if stream == 0 {
		return nil, errNoResult
	}
	if msg := c.lib.c.insertError(stream); msg != "" {
		c.lib.c.insertDestroy(stream)
		return nil, ParseException(msg)
	}
	return &Insert{conn: c, stream: stream}, nil
}

// Append sends a chunk of encoded rows; chunks need not end at a row's end.
func (i *Insert) Append(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	state := i.conn.lib.c.insertAppend(i.stream, unsafe.Pointer(unsafe.SliceData(data)), uintptr(len(data)))
	runtime.KeepAlive(data)
	if state == 0 {
		return nil
	}
	if msg := i.conn.lib.c.insertError(i.stream); msg != "" {
		return ParseException(msg)
	}
	return errors.New("the engine took no more data of the insert and gave no reason")
}

// Commit says that all rows were sent and waits until they are stored.
func (i *Insert) Commit() (Stats, error) {
	_, stats, err := i.conn.lib.take(i.conn.lib.c.insertDone(i.stream))
	return stats, err
}

// Close frees the Insert and, unless it was committed, cancels it. Blocks
// that the engine had already written stay (an insert is atomic per block and
// partition only, as on any ClickHouse).
func (i *Insert) Close() {
	if i.stream == 0 {
		return
	}
	i.conn.lib.c.insertDestroy(i.stream)
	i.stream = 0
}

var errNoResult = errors.New("the engine returned no result")

// take copies a result out of the engine's memory and frees it.
func (l *Library) take(res uintptr) ([]byte, Stats, error) {
	if res == 0 {
		return nil, Stats{}, errNoResult
	}
	defer l.c.resultDestroy(res)
	if msg := l.c.resultError(res); msg != "" {
		return nil, Stats{}, ParseException(msg)
	}
	stats := Stats{
		RowsReturned: l.c.resultRowsRead(res),
		RowsRead:     l.c.resultStorageRows(res),
		BytesRead:    l.c.resultStorageBytes(res),
		RowsWritten:  l.c.resultRowsWritten(res),
		BytesWritten: l.c.resultBytesWritten(res),
	}
	n := l.c.resultLength(res)
	if n == 0 {
		return nil, stats, nil
	}
	out := make([]byte, n)
	copy(out, unsafe.Slice((*byte)(l.c.resultBuffer(res)), n))
	return out, stats, nil
}

// params are statement parameters laid out as the C arrays of the ABI.
type params struct {
	pin                                runtime.Pinner
	names, nameLens, values, valueLens unsafe.Pointer
	count                              uintptr
}

func newParams(in []Param) *params {
	p := &params{count: uintptr(len(in))}
	if len(in) == 0 {
		return p
	}
	names, nameLens := make([]unsafe.Pointer, len(in)), make([]uintptr, len(in))
	values, valueLens := make([]unsafe.Pointer, len(in)), make([]uintptr, len(in))
	for i, param := range in {
		names[i], nameLens[i] = p.text(param.Name)
		values[i], valueLens[i] = p.text(param.Value)
	}
	for _, first := range []any{&names[0], &nameLens[0], &values[0], &valueLens[0]} {
		p.pin.Pin(first)
	}
	p.names, p.nameLens = unsafe.Pointer(&names[0]), unsafe.Pointer(&nameLens[0])
	p.values, p.valueLens = unsafe.Pointer(&values[0]), unsafe.Pointer(&valueLens[0])
	return p
}

// text pins a copy of s; an empty string needs an address too.
func (p *params) text(s string) (unsafe.Pointer, uintptr) {
	b := append([]byte(s), 0)
	p.pin.Pin(&b[0])
	return unsafe.Pointer(&b[0]), uintptr(len(s))
}

func (p *params) unpin() { p.pin.Unpin() }

// bytesOf gives the ABI a view of s, which the caller keeps alive.
func bytesOf(s string) (unsafe.Pointer, uintptr) {
	return unsafe.Pointer(unsafe.StringData(s)), uintptr(len(s))
}
