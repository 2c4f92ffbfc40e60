package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"kohort.dev/kohort/internal/mapping"
)

// readCSV gives each row of a CSV file (RFC 4180) as an object whose fields the first row names. Every value is a text.
//
// encoding/csv is not used because it reads without limit behind a quote that is not closed, and cannot go on after it.
// Here such a row is given as a fault, and reading goes on with the next line.
func readCSV(ctx context.Context, in io.Reader, take taker) error {
	w := newWindow(in)
	if err := w.start(); err != nil {
		return err
	}
	header, err := readHeader(w)
	if err != nil || header == nil {
		return err
	}
	for number := int64(1); !w.empty(); number++ {
		raw, fault := nextRow(w)
		if w.err != nil {
			return w.err // the last row may be a part of one
		}
		if raw == "" && fault == nil {
			number--
			continue
		}
		r := record{raw: raw, fault: fault}
		r.Number, r.Format, r.Columns = number, mapping.CSV, header
		if fault == nil {
			r.value, r.fault = r.Value(raw)
		}
		if err := take(ctx, r); err != nil {
			return err
		}
	}
	return w.err
}

func readHeader(w *window) ([]string, error) {
	for !w.empty() {
		raw, fault := nextRow(w)
		switch {
		case w.err != nil:
			return nil, w.err
		case fault != nil:
			return nil, errStructure{"the first row, which names the fields, cannot be read: " + fault.Message}
		case raw == "":
			continue
		case !utf8.ValidString(raw):
			return nil, errStructure{"the first row, which names the fields, is not UTF-8; write the file as UTF-8"}
		}
		header, seen := mapping.SplitCSV(raw), map[string]bool{}
		for _, name := range header {
			if seen[name] {
				return nil, errStructure{fmt.Sprintf("the first row, which names the fields, has %q twice; name each field once", name)}
			}
			seen[name] = true
		}
		return header, nil
	}
	return nil, w.err
}

const rowTooLong = "the row is longer than %d bytes; its beginning is kept"

// nextRow takes one row out of the window. A raw of "" is an empty line.
func nextRow(w *window) (raw string, _ *mapping.Fault) {
	end, bad := rowEnd(w)
	switch {
	case bad == "" && end > maxRecord:
		raw = string(w.bytes[:maxRecord])
		w.use(min(end+1, len(w.bytes)))
		return raw, mapping.Unreadable(mapping.TooLarge, rowTooLong, maxRecord)
	case bad == "":
		raw = strings.TrimSuffix(string(w.bytes[:end]), "\r")
		w.use(min(end+1, len(w.bytes)))
		return raw, nil
	case end >= 0:
		raw = string(bytes.TrimRight(w.bytes[:end], "\r"))
		w.use(min(end+1, len(w.bytes)))
		return raw, mapping.Unreadable(mapping.InvalidCSV, "%s", bad)
	default:
		raw = string(w.bytes[:min(maxRecord, len(w.bytes))])
		w.skipLine()
		return raw, mapping.Unreadable(mapping.TooLarge, "%s", bad)
	}
}

// rowEnd finds where the first row of the window ends. When it is no good it says why, and gives the end of the line to
// pass over, or -1 when that line is longer than a record may be.
func rowEnd(w *window) (end int, bad string) {
	at := 0
	peek := func() (byte, bool) {
		for at >= len(w.bytes) {
			if len(w.bytes) > maxRecord || !w.more() {
				return 0, false
			}
		}
		return w.bytes[at], true
	}
	for { // one field each
		c, ok := peek()
		if ok && c == '"' {
			at++
			if !closeQuote(w, &at, peek) {
				return firstLine(w), "a quote is not closed; write \"\" for a quote inside of a quoted field"
			}
			if c, ok = peek(); ok && c == '\r' {
				at++
				c, ok = peek()
			}
			switch {
			case !ok || c == '\n':
				return at, ""
			case c == ',':
				at++
				continue
			default:
				return w.line(at), "text follows a closing quote; write \"\" for a quote inside of a quoted field"
			}
		}
		for ok && c != ',' && c != '\n' {
			rest := bytes.IndexAny(w.bytes[at:], ",\n")
			if rest < 0 {
				at = len(w.bytes)
			} else {
				at += rest
			}
			c, ok = peek()
		}
		if !ok && len(w.bytes) > maxRecord {
			return firstLine(w), fmt.Sprintf(rowTooLong, maxRecord)
		}
		if !ok || c == '\n' {
			return at, ""
		}
		at++
	}
}

// closeQuote moves at behind the quote that closes a field.
func closeQuote(w *window, at *int, peek func() (byte, bool)) bool {
	for {
		if _, ok := peek(); !ok {
			return false
		}
		quote := bytes.IndexByte(w.bytes[*at:], '"')
		if quote < 0 {
			*at = len(w.bytes)
			continue
		}
		*at += quote + 1
		if c, ok := peek(); !ok || c != '"' {
			return true
		}
		*at++
	}
}

// firstLine is the end of the window's first line when that is short enough for a record, else -1.
func firstLine(w *window) int {
	if at := bytes.IndexByte(w.bytes, '\n'); at >= 0 {
		return at
	}
	if len(w.bytes) <= maxRecord {
		return len(w.bytes)
	}
	return -1
}
