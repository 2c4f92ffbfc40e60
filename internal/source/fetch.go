package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

const (
	// stallTime without a byte ends a transfer.
	stallTime = 60 * time.Second
	// rangeBytes are fetched by one request of a file that is read in parts, and rangeBlocks of them are kept: a row group
	// is read column by column, each a little further.
	rangeBytes  = 1 << 20
	rangeBlocks = 32
	maxRedirect = 5
)

// NewHTTPClient fetches files: bodies as they are, few redirects, and no waiting for a server that does not answer.
func NewHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // a .gz file must arrive as it is
	transport.ResponseHeaderTimeout = stallTime
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirect {
			return fmt.Errorf("more than %d redirects", maxRedirect)
		}
		return nil
	}}
}

func httpItem(client *http.Client, location string) item {
	shown := withoutPassword(location)
	return item{url: shown, open: func(ctx context.Context) (content, error) {
		response, cancel, err := request(ctx, client, location, "") //nolint:bodyclose // whoever was given the content closes it
		if err != nil {
			return content{}, err
		}
		opened := content{
			ReadCloser: &watched{in: response.Body, ctx: response.Request.Context(), cancel: cancel,
				timer: time.AfterFunc(stallTime, func() { cancel(errStalled) })},
			size: response.ContentLength,
		}
		header := response.Header
		switch {
		case header.Get("ETag") != "" && !strings.HasPrefix(header.Get("ETag"), "W/"):
			opened.version = "etag " + header.Get("ETag")
		case header.Get("Last-Modified") != "" && response.ContentLength >= 0:
			opened.version = fmt.Sprintf("%d %s", response.ContentLength, header.Get("Last-Modified"))
		}
		if header.Get("Accept-Ranges") == "bytes" && response.ContentLength >= 0 {
			opened.at = &ranges{ctx: ctx, client: client, location: location, etag: header.Get("ETag"), size: response.ContentLength}
		}
		return opened, nil
	}}
}

var errStalled = fmt.Errorf("no byte came for %s", stallTime)

// request sends one GET. An answer that a person has to do something about is not tried again.
func request(ctx context.Context, client *http.Client, location, byteRange string) (*http.Response, context.CancelCauseFunc, error) {
	shown := withoutPassword(location)
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		cancel(nil)
		return nil, nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q is not a URL", shown)
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	response, err := client.Do(r)
	if err != nil {
		cancel(nil)
		var failed *url.Error // its text holds the URL, with what is secret in it
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, nil, run.Fail(reasonSourceUnreachable, "fetching %s: %w", shown, err)
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK && byteRange == "", status == http.StatusPartialContent && byteRange != "":
		return response, cancel, nil
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		err = run.Fail(reasonSourceUnreachable, "fetching %s: the server answers %s", shown, response.Status)
	default:
		err = run.Refuse(reasonSourceUnreachable, "fetching %s: the server answers %s; correct spec.files.url or put the file there", shown, response.Status)
	}
	_ = response.Body.Close()
	cancel(nil)
	return nil, nil, err
}

// withoutPassword is a URL that may be shown: without user and query, where tokens stand.
func withoutPassword(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "spec.files.url"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// watched ends a transfer that stalls.
type watched struct {
	in     io.ReadCloser
	timer  *time.Timer
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
}

func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(stallTime)
	n, err := w.in.Read(b)
	if err != nil && errors.Is(context.Cause(w.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.in.Close()
	w.cancel(nil)
	return err
}

// ranges reads parts of a file by Range requests (RFC 9110, 14), and keeps the newest.
type ranges struct {
	ctx      context.Context // of the run: io.ReaderAt has none
	client   *http.Client
	location string
	etag     string
	size     int64
	blocks   []block // newest last
}

type block struct {
	start int64
	bytes []byte
}

// ReadAt fetches what it does not have.
func (r *ranges) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		if off >= r.size {
			return done, io.EOF
		}
		part, err := r.block(off / rangeBytes * rangeBytes)
		if err != nil {
			return done, err
		}
		n := copy(b[done:], part[off%rangeBytes:])
		done += n
		off += int64(n)
	}
	return done, nil
}

func (r *ranges) block(start int64) ([]byte, error) {
	for _, known := range r.blocks {
		if known.start == start {
			return known.bytes, nil
		}
	}
	end := min(start+rangeBytes, r.size)
	response, cancel, err := request(r.ctx, r.client, r.location, fmt.Sprintf("bytes=%d-%d", start, end-1))
	if err != nil {
		return nil, err
	}
	defer cancel(nil)
	defer func() { _ = response.Body.Close() }()
	stalled := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	defer stalled.Stop()
	if etag := response.Header.Get("ETag"); etag != r.etag {
		return nil, errors.New("the file changed while it was read")
	}
	part := make([]byte, end-start)
	if _, err := io.ReadFull(response.Body, part); err != nil {
		return nil, err
	}
	if len(r.blocks) == rangeBlocks {
		r.blocks = r.blocks[1:]
	}
	r.blocks = append(r.blocks, block{start, part})
	return part, nil
}
