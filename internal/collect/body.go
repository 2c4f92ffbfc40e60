package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// maxReceiving is how many bytes of bodies may be in memory at once, so that many slow or large requests together
// cannot exhaust it: 131 batches of the usual largest size, or thousands of usual ones.
const maxReceiving = 64 << 20

// receiver reads bodies into buffers that are used again.
type receiver struct {
	receiving atomic.Int64
	buffers   sync.Pool
	unpackers sync.Pool
}

// received is a body and what has to be given back.
type received struct {
	body   []byte
	buffer *[]byte
	held   int64
}

// receive reads a request's body, unpacked, of at most limit bytes; a batch may have maxBatch.
func (c *receiver) receive(r *http.Request, limit, maxBatch int) (received, *refusal) {
	tooLong := func() *refusal {
		return tooLarge("body", fmt.Sprintf("the body is larger than %d KiB; a single event may have %d KiB and a batch %d KiB, unpacked",
			limit>>10, maxSingle>>10, maxBatch>>10))
	}
	packed, refused := isPacked(r)
	if refused != nil {
		return received{}, refused
	}
	size := int64(limit) // when it is not known
	if r.ContentLength >= 0 && !packed {
		size = r.ContentLength
	}
	if r.ContentLength > int64(limit) {
		return received{}, tooLong()
	}
	if c.receiving.Add(size) > maxReceiving {
		c.receiving.Add(-size)
		return received{}, busy
	}
	got := received{buffer: c.buffer(), held: size}
	var err error
	if packed {
		err = c.unpack(r.Body, got.buffer, limit)
	} else {
		err = fill(r.Body, got.buffer, limit)
	}
	if err != nil {
		c.giveBack(got)
		return received{}, refuseBody(err, tooLong)
	}
	got.body = clean(*got.buffer)
	return got, nil
}

func (c *receiver) giveBack(got received) {
	c.receiving.Add(-got.held)
	if cap(*got.buffer) <= DefaultMaxBatch+bytes.MinRead {
		c.buffers.Put(got.buffer)
	}
}

func (c *receiver) buffer() *[]byte {
	if b, ok := c.buffers.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

func isPacked(r *http.Request) (bool, *refusal) {
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		return false, nil
	case "gzip", "x-gzip":
		return true, nil
	default:
		return false, invalid("Content-Encoding", "only gzip is known; send the body packed with it or not packed")
	}
}

var errTooLong = errors.New("longer than allowed")

// fill reads to the end of the body, and notices when there is more than limit. The buffer grows with what has arrived,
// never by what was announced.
func fill(from io.Reader, into *[]byte, limit int) error {
	b := *into
	defer func() { *into = b }()
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := from.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		if len(b) > limit {
			return errTooLong
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// errPacked marks what is wrong with the packing, not with the connection.
type errPacked struct{ err error }

func (e errPacked) Error() string { return e.err.Error() }

// unpack stops at limit, whatever the packed size: a few bytes may unpack to gigabytes. What is read of the packed
// stream is bounded by that as well.
func (c *receiver) unpack(from io.Reader, into *[]byte, limit int) error {
	source := &connection{from: from}
	unpacker, ok := c.unpackers.Get().(*gzip.Reader)
	var err error
	if ok {
		err = unpacker.Reset(source)
	} else {
		unpacker, err = gzip.NewReader(source)
	}
	if err == nil {
		err = fill(unpacker, into, limit)
	}
	if unpacker != nil {
		c.unpackers.Put(unpacker)
	}
	switch {
	case err == nil, errors.Is(err, errTooLong):
		return err
	case source.err != nil:
		return source.err
	default:
		return errPacked{err}
	}
}

// connection remembers its own failures, to tell them from those of the unpacker.
type connection struct {
	from io.Reader
	err  error
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func refuseBody(err error, tooLong func() *refusal) *refusal {
	var packed errPacked
	switch {
	case errors.Is(err, errTooLong):
		return tooLong()
	case errors.As(err, &packed):
		return invalid("body", "the body is not the gzip that Content-Encoding says: "+packed.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timedOut
	default:
		return invalid("body", "the body ended early; send it again")
	}
}

// clean takes off a byte order mark and replaces what is not UTF-8: JSON must be (RFC 8259, 8.1), and one client's
// Latin-1 name must not lose a batch, nor reach databases that refuse it.
func clean(body []byte) []byte {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if utf8.Valid(body) {
		return body
	}
	return bytes.ToValidUTF8(body, []byte("\uFFFD"))
}
