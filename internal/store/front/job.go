package front

import (
	"context"
	"errors"
	"io"
	"time"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/statement"
)

// job is one statement of one request on its own connection.
type job struct {
	front     *Front
	conn      *chdb.Conn
	request   *request
	answer    *answer
	mark      string
	text      string
	statement statement.Statement
}

// marked puts the mark, by which a KILL finds the statement, before it.
func (j *job) marked(text string) string { return "/*" + j.mark + "*/ " + text }

// format is the output format when the statement does not name one.
func (j *job) format() string {
	if j.request.format != "" {
		return j.request.format
	}
	return "TabSeparated"
}

// shown is the format of the result.
func (j *job) shown() string {
	if j.statement.Format != "" {
		return j.statement.Format
	}
	return j.format()
}

// stream sends a query's result as it is computed. The first chunk is awaited
// before the headers, so that most errors still have their status.
func (j *job) stream() error {
	rows, err := j.conn.Stream(j.marked(j.text), j.format(), j.request.params...)
	if err != nil {
		return err
	}
	defer rows.Close()
	chunk, err := rows.Next()
	if err != nil {
		return err
	}
	j.answer.begin(j.request, j.shown())
	for len(chunk) > 0 {
		if err := j.answer.rows(chunk); err != nil {
			return err
		}
		if chunk, err = rows.Next(); err != nil {
			return err
		}
	}
	return j.answer.finish()
}

// run sends the result of a statement that the engine cannot stream.
func (j *job) run() error {
	out, stats, err := j.conn.Query(j.marked(j.text), j.format(), j.request.params...)
	if err != nil {
		return err
	}
	if len(out) == 0 {
		j.answer.empty(stats)
		return nil
	}
	j.answer.summary(stats)
	j.answer.begin(j.request, j.shown())
	if err := j.answer.rows(out); err != nil {
		return err
	}
	return j.answer.finish()
}

// insertSelf runs an INSERT that brings its own rows: VALUES or SELECT.
func (j *job) insertSelf() error {
	if err := j.front.room(); err != nil {
		return err
	}
	_, stats, err := j.conn.Query(j.marked(j.text), j.format(), j.request.params...)
	if err != nil {
		return err
	}
	j.done(stats)
	return nil
}

// chunkBytes is how much of a body is handed to the engine at once.
const chunkBytes = 1 << 20

// insert sends rows from the request's body to the engine. When the body
// breaks off nothing is committed.
func (j *job) insert(rows io.Reader) error {
	if err := j.front.room(); err != nil {
		return err
	}
	ins, err := j.conn.Insert(j.marked(j.statement.Text), j.statement.Format, j.request.params...)
	if err != nil {
		return err
	}
	defer ins.Close()
	buf := make([]byte, chunkBytes)
	for over := false; !over; {
		n, err := fill(rows, buf)
		if appendErr := ins.Append(buf[:n]); appendErr != nil {
			return appendErr
		}
		over = errors.Is(err, io.EOF)
		if err != nil && !over {
			return bodyFailure(err)
		}
	}
	stats, err := ins.Commit()
	if err != nil {
		return err
	}
	j.done(stats)
	return nil
}

// fill reads until buf is full. Unlike io.ReadFull it hands the reader's own
// error on, so that a body that broke off is not taken for one that ended.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

func (j *job) done(stats chdb.Stats) {
	j.front.metrics.written(stats)
	j.answer.empty(stats)
}

// killEvery is the pause between two attempts to end a statement. A KILL can
// come before the engine has registered the statement, so one is not enough.
const killEvery = 20 * time.Millisecond

// killOnDone ends the marked statement when ctx ends. The caller calls stop
// once the statement has returned; stop waits for the watcher.
func (f *Front) killOnDone(ctx context.Context, mark string) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		tick := time.NewTicker(killEvery)
		defer tick.Stop()
		for {
			f.kill(mark)
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// kill asks the engine once to end the marked statement. A failure is not
// reported: the next attempt follows until the statement has returned.
func (f *Front) kill(mark string) {
	conn, err := f.engine.Connect()
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.Exec("KILL QUERY WHERE startsWith(query, {mark:String}) ASYNC", chdb.Param{Name: "mark", Value: "/*" + mark + "*/"})
	f.metrics.kills.Inc()
}
