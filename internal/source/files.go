package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
)

// item is one file to read.
type item struct {
	url string
	// open gives its content and its version: two versions that are equal hold the same. A version of "" says nothing.
	open func(context.Context) (content, error)
}

// content of a file that was opened.
type content struct {
	io.ReadCloser
	version string
	size    int64 // -1: not known
	// at reads any part of it; nil when it can only be read from its beginning.
	at io.ReaderAt
}

// errUnreachable says that a source broke off while it was read.
type errUnreachable struct{ err error }

func (e errUnreachable) Error() string { return e.err.Error() }
func (e errUnreachable) Unwrap() error { return e.err }

// seen is a file that was read to its end and is not yet kept as such.
type seen struct{ key, version string }

// files reads each file whose version is not the one that was read before, and every file when that is asked for.
func (p *pull) files(ctx context.Context) error {
	items, err := p.items(ctx)
	if err != nil {
		return err
	}
	// A file is read again when the mapping or the format has changed since.
	recipe := mapping.Fingerprint(p.Order.Mapping, p.Order.Files.Format)
	var done []seen
	unchanged := 0
	for _, file := range items {
		before, err := p.Cursors.get(ctx, cursorKey(file.url))
		if err != nil {
			return err
		}
		version, read, err := p.file(ctx, file, func(version string) bool { return !p.Order.Again && before == recipe+" "+version })
		if err != nil {
			return err
		}
		if !read {
			unchanged++
			continue
		}
		if version != "" {
			done = append(done, seen{cursorKey(file.url), recipe + " " + version})
		}
		if !p.hopeless() {
			if err := p.keep(ctx, done); err != nil {
				return err
			}
			done = nil
		}
	}
	if p.hopeless() {
		return p.refuseAll()
	}
	if unchanged > 0 && p.read == 0 {
		p.note = fmt.Sprintf("%d of %d files have not changed since they were read; nothing was read again", unchanged, len(items))
	}
	return p.keep(ctx, done)
}

func cursorKey(url string) string { return "file " + url }

// keep waits until everything is acknowledged and then notes files as read.
func (p *pull) keep(ctx context.Context, files []seen) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	for _, file := range files {
		if err := p.Cursors.set(ctx, file.key, file.version); err != nil {
			return err
		}
	}
	return nil
}

func (p *pull) items(ctx context.Context) ([]item, error) {
	files := p.Order.Files
	switch {
	case strings.HasPrefix(files.URL, "http://"), strings.HasPrefix(files.URL, "https://"):
		return []item{httpItem(p.HTTP, files.URL)}, nil
	case strings.HasPrefix(files.URL, "s3://"):
		return p.s3Items(ctx)
	case strings.HasPrefix(files.URL, "file://"):
		items, err := localItems(files.Root, files.URL)
		if len(items) == 0 && err == nil {
			p.note = "no file matches " + files.URL
		}
		return items, err
	default:
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q must start with http://, https://, s3:// or file:///", files.URL)
	}
}

// file reads one file, unless known says so of its version.
func (p *pull) file(ctx context.Context, file item, known func(version string) bool) (version string, read bool, err error) {
	opened, err := file.open(ctx)
	if err != nil {
		return "", false, err
	}
	defer func() { _ = opened.Close() }()
	if opened.version != "" && known(opened.version) {
		return opened.version, false, nil
	}
	take := p.take(file.url)
	identified := func(ctx context.Context, r record) error {
		r.Origin, r.Moment = []string{"file", p.Order.Source, file.url, strconv.FormatInt(r.Number, 10)}, opened.version
		return take(ctx, r)
	}
	switch format := p.Order.Files.Format; format {
	case "CSV":
		err = readText(ctx, opened, readCSV, identified)
	case "JSONL":
		err = readText(ctx, opened, readJSONL, identified)
	case "Parquet":
		err = readRandomly(ctx, opened, identified)
	default:
		err = errStructure{fmt.Sprintf("format %q is unknown; it must be CSV, JSONL or Parquet", format)}
	}
	var unreachable errUnreachable
	switch {
	case isStructure(err):
		return "", false, run.Refuse(reasonRunFailed, "%s (spec.files.format is %s): %w", file.url, p.Order.Files.Format, err)
	case errors.As(err, &unreachable):
		return "", false, run.Fail(reasonSourceUnreachable, "reading %s broke off after %d records: %w", file.url, p.read, unreachable.err)
	case err != nil:
		return "", false, err
	}
	return opened.version, true, nil
}

// readText unpacks a file that is packed, whatever its name says: no text begins with gzip's two bytes.
func readText(ctx context.Context, file content, read func(context.Context, io.Reader, taker) error, take taker) error {
	source := &tagged{in: file}
	buffered := bufio.NewReaderSize(source, 256<<10)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return read(ctx, buffered, take)
	}
	unpacked, err := gzip.NewReader(buffered)
	if err == nil {
		err = read(ctx, unpacked, take)
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || (errors.Is(err, io.ErrUnexpectedEOF) && source.err == nil) {
		return errStructure{"the file is not whole gzip: " + err.Error()}
	}
	return err
}

// tagged marks errors of the source, to tell them from those of what is read.
type tagged struct {
	in  io.Reader
	err error
}

func (t *tagged) Read(b []byte) (int, error) {
	n, err := t.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = errUnreachable{err}
		return n, t.err
	}
	return n, err
}

// readRandomly reads a format whose index is at the end of the file.
func readRandomly(ctx context.Context, file content, take taker) error {
	if file.at == nil || file.size < 0 {
		return errStructure{"Parquet is read from its end, and the server gives the file from its beginning only; use one that answers Range requests, or a volume"}
	}
	magic := make([]byte, 2)
	if n, _ := file.at.ReadAt(magic, 0); n == 2 && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return errStructure{"a Parquet file must not be packed with gzip; its pages are packed already"}
	}
	return readParquet(ctx, taggedAt{file.at}, file.size, take)
}

type taggedAt struct{ in io.ReaderAt }

func (t taggedAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := t.in.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errUnreachable{err}
	}
	return n, err
}
