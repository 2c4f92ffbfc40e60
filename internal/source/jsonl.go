package source

import (
	"bytes"
	"context"
	"io"
	"strings"

	"kohort.dev/kohort/internal/mapping"
)

// readJSONL gives each line of a JSON Lines file (https://jsonlines.org). Empty lines are passed over.
func readJSONL(ctx context.Context, in io.Reader, take taker) error {
	w := newWindow(in)
	if err := w.start(); err != nil {
		return err
	}
	for number := int64(1); !w.empty(); number++ {
		r := record{}
		r.Number, r.Format = number, mapping.JSON
		if end := w.line(0); end >= 0 && end <= maxRecord {
			r.raw = string(bytes.TrimRight(w.bytes[:end], "\r"))
			w.use(min(end+1, len(w.bytes)))
			r.value, r.fault = r.Value(r.raw)
		} else {
			r.raw = string(w.bytes[:maxRecord])
			r.fault = mapping.Unreadable(mapping.TooLarge, "the line is longer than %d bytes; its beginning is kept", maxRecord)
			w.skipLine()
		}
		if w.err != nil {
			return w.err // the last line may be a part of one
		}
		if strings.TrimSpace(r.raw) == "" {
			continue
		}
		if err := take(ctx, r); err != nil {
			return err
		}
	}
	return w.err
}
