package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"kohort.dev/kohort/internal/mapping"
)

// parquetRows are read at once; a row group is never held as a whole.
const parquetRows = 256

// readParquet gives each row of a Parquet file (https://parquet.apache.org/docs/file-format/) as an object. Values have
// the types that JSON has: dates, times, decimals and UUIDs are texts, and whole numbers keep all their digits.
func readParquet(ctx context.Context, in io.ReaderAt, size int64, take taker) (err error) {
	defer func() { // the library panics on some damaged files
		if caught := recover(); caught != nil {
			err = errStructure{fmt.Sprintf("the file is damaged: %v", caught)}
		}
	}()
	broken := &faultyReader{in: in}
	structure := func(what string, err error) error {
		if broken.err != nil {
			return broken.err // the connection's fault, not the file's
		}
		return errStructure{what + ": " + err.Error()}
	}
	file, err := parquet.OpenFile(broken, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true),
		parquet.ReadBufferSize(256<<10))
	if err != nil {
		return structure("the file is not Parquet", err)
	}
	decimals := exactDecimals(file.Schema())
	number := int64(0)
	rows := make([]parquet.Row, parquetRows)
	for _, group := range file.RowGroups() {
		reader := group.Rows()
		for {
			n, readErr := reader.ReadRows(rows)
			for _, row := range rows[:n] {
				number++
				r := parquetRecord(file.Schema(), decimals, row)
				r.Number, r.Format = number, mapping.JSON
				if err := take(ctx, r); err != nil {
					_ = reader.Close()
					return err
				}
			}
			if errors.Is(readErr, io.EOF) {
				break
			}
			if readErr != nil {
				_ = reader.Close()
				return structure(fmt.Sprintf("the file cannot be read behind row %d", number), readErr)
			}
		}
		if err := reader.Close(); err != nil {
			return structure("the file cannot be read", err)
		}
	}
	return nil
}

func parquetRecord(schema *parquet.Schema, decimals []decimalColumn, row parquet.Row) record {
	var value any
	if err := schema.Reconstruct(&value, row); err != nil {
		return record{raw: fmt.Sprint(row), fault: mapping.Unreadable("InvalidParquet", "the row does not fit the file's schema: %v", err)}
	}
	object, ok := plainGroup(schema, value).(map[string]any)
	if !ok {
		return record{raw: fmt.Sprint(row), fault: mapping.Unreadable("InvalidParquet", "the row is not an object")}
	}
	for _, column := range decimals {
		column.restore(object, row)
	}
	raw, err := json.Marshal(object)
	if err != nil { // NaN and infinities
		return record{raw: fmt.Sprint(row), fault: mapping.Unreadable("InvalidParquet", "the row holds what JSON cannot: %v", err)}
	}
	if len(raw) > maxRecord {
		return record{raw: string(raw[:maxRecord]), fault: mapping.Unreadable(mapping.TooLarge, "the row is longer than %d bytes as JSON; its beginning is kept", maxRecord)}
	}
	return record{raw: string(raw), value: object}
}

// faultyReader remembers why reading failed, which the library hides behind errors of its own.
type faultyReader struct {
	in  io.ReaderAt
	err error
}

func (f *faultyReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.in.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}
