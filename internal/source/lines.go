package source

import (
	"bytes"
	"errors"
	"io"
)

// window is a part of a file in memory: what is being looked at and not yet used. It grows to hold one record.
type window struct {
	in    io.Reader
	bytes []byte // read and not yet used
	room  []byte // that bytes lies in
	ended bool   // in has no more
	err   error  // of in, other than its end
}

func newWindow(in io.Reader) *window {
	return &window{in: in, room: make([]byte, 0, 64<<10)}
}

// more reads further bytes behind those that are there; false at the end of the file.
func (w *window) more() bool {
	if w.ended {
		return false
	}
	if len(w.bytes) == cap(w.bytes) {
		if len(w.bytes) > cap(w.room)/2 {
			w.room = make([]byte, 0, 2*cap(w.room))
		}
		w.bytes = append(w.room[:0], w.bytes...)
	}
	n, err := w.in.Read(w.bytes[len(w.bytes):cap(w.bytes)])
	w.bytes = w.bytes[:len(w.bytes)+n]
	if err != nil {
		w.ended = true
		if !errors.Is(err, io.EOF) {
			w.err = err
		}
	}
	return n > 0 || !w.ended
}

// use takes n bytes out.
func (w *window) use(n int) { w.bytes = w.bytes[n:] }

// line finds the end of the first line at or behind from: the offset of its line feed, or of the end of the file. It
// gives up after maxRecord bytes: -1.
func (w *window) line(from int) int {
	for {
		if at := bytes.IndexByte(w.bytes[from:], '\n'); at >= 0 {
			return from + at
		}
		if len(w.bytes) > maxRecord {
			return -1
		}
		from = len(w.bytes)
		if !w.more() {
			return len(w.bytes)
		}
	}
}

// skipLine takes out everything up to the next line feed, whatever its length.
func (w *window) skipLine() {
	for {
		if at := bytes.IndexByte(w.bytes, '\n'); at >= 0 {
			w.use(at + 1)
			return
		}
		w.use(len(w.bytes))
		if !w.more() {
			return
		}
	}
}

// empty says whether the file is used up.
func (w *window) empty() bool {
	for len(w.bytes) == 0 {
		if !w.more() {
			return len(w.bytes) == 0
		}
	}
	return false
}

// start takes off a byte order mark, and refuses text that is not UTF-8 from its first bytes.
func (w *window) start() error {
	for len(w.bytes) < 3 && w.more() {
		continue
	}
	switch {
	case bytes.HasPrefix(w.bytes, []byte("\xef\xbb\xbf")):
		w.use(3)
	case bytes.HasPrefix(w.bytes, []byte("\xff\xfe")), bytes.HasPrefix(w.bytes, []byte("\xfe\xff")):
		return errStructure{"the file is UTF-16; save it as UTF-8"}
	}
	return nil
}
