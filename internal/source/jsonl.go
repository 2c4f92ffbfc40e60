package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// readJSONL gives each line of a JSON Lines file (https://jsonlines.org). Empty lines are passed over.
func readJSONL(ctx context.Context, in io.Reader, take taker) error {
	w := newWindow(in)
	if err := w.start(); err != nil {
		return err
	}
	for number := int64(1); !w.empty(); number++ {
		r := record{number: number}
		if end := w.line(0); end >= 0 && end <= maxRecord {
			r.raw = string(bytes.TrimRight(w.bytes[:end], "\r"))
			w.use(min(end+1, len(w.bytes)))
			r.value, r.fault = parseJSON(r.raw)
		} else {
			r.raw = string(w.bytes[:maxRecord])
			r.fault = readFault(faultTooLarge, "the line is longer than %d bytes; its beginning is kept", maxRecord)
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

// parseJSON keeps numbers as they are written: 2^53 and money must not be rounded on their way to the mapping.
func parseJSON(raw string) (any, *fault) {
	if !utf8.ValidString(raw) {
		return nil, readFault(faultEncoding, "the line is not UTF-8; write the file as UTF-8")
	}
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, readFault(faultJSON, "the line is not JSON: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, readFault(faultJSON, "the line holds more than one JSON value")
	}
	return value, nil
}
