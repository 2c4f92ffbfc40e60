package front

import (
	"compress/gzip"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/zstd"
)

// frameBytes is how much is compressed into one frame: it bounds the buffers
// of both sides.
const frameBytes = 1 << 20

// codec is ClickHouse's own block compression.
type codec struct {
	zstd     bool
	none     bool
	zstdRate int
}

func (c *codec) method(name string) error {
	switch strings.ToUpper(name) {
	case "LZ4", "LZ4HC":
	case "ZSTD":
		c.zstd = true
	case "NONE":
		c.none = true
	default:
		return badRequest("network_compression_method %q is not supported: use LZ4, ZSTD or NONE", name)
	}
	return nil
}

func (c *codec) level(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 22 {
		return badRequest("network_zstd_compression_level must be a number from 1 to 22, not %q", text)
	}
	c.zstdRate = n
	return nil
}

func (c *codec) writer() *compress.Writer {
	switch {
	case c.none:
		return compress.NewWriter(compress.LevelZero, compress.None)
	case c.zstd:
		return compress.NewWriter(compress.Level(c.zstdRate), compress.ZSTD)
	}
	return compress.NewWriter(compress.LevelZero, compress.LZ4)
}

// framed compresses what is written into frames.
type framed struct {
	to io.Writer
	c  *compress.Writer
}

func (f *framed) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), frameBytes)
		if err := f.c.Compress(rest[:n]); err != nil {
			return 0, fmt.Errorf("compressing the answer: %w", err)
		}
		if _, err := f.to.Write(f.c.Data); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// body undoes the compression of a request's body.
func (q *request) body(r io.Reader) (io.Reader, error) {
	switch q.encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, badRequest("the body is not gzip, though Content-Encoding says so: %s", err)
		}
		r = z
	case "zstd":
		// One goroutine and a bounded window: a body cannot ask for more memory.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return nil, badRequest("the body is not zstd, though Content-Encoding says so: %s", err)
		}
		r = z.IOReadCloser()
	default:
		return nil, refuse(415, 36, "BAD_ARGUMENTS", "Content-Encoding %q is not supported: use gzip, zstd or none", q.encoding)
	}
	if q.decompress {
		r = compress.NewReader(r)
	}
	return r, nil
}
