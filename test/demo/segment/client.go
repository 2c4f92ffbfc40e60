package segment

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Client posts to one collector.
type Client struct {
	// Endpoint is the collector's base URL, such as http://web-collector.shop.svc.
	Endpoint string
	// WriteKey is sent as the user name of HTTP basic authentication, as SDKs do.
	WriteKey string
	// Path of the batch method. SDKs disagree: analytics-node posts to /v1/batch, the mobile libraries to /v1/b.
	Path string
	// Gzip packs bodies, as the mobile libraries do.
	Gzip bool
	// HTTP sends requests.
	HTTP *http.Client
	// Wait returns after a time, or with an error as soon as the context ends.
	Wait func(context.Context, time.Duration) error
}

// Waits between two tries of a request: doubled each time, from the first to the longest.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 3 * time.Second
)

// errRefused says that a collector will not take a request however often it is sent.
var errRefused = errors.New("the collector refuses the request")

// Send posts a body until the collector acknowledges it, and returns how many tries failed before. Answers 408, 429 and
// 5xx and broken connections are tried again; any other refusal is an error, and so is the end of the context.
func (c *Client) Send(ctx context.Context, payload []byte) (retries int, err error) {
	if c.Gzip {
		if payload, err = pack(payload); err != nil {
			return 0, err
		}
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		after, err := c.post(ctx, payload)
		if err == nil {
			return retries, nil
		}
		if errors.Is(err, errRefused) {
			return retries, err
		}
		retries++
		if waitErr := c.Wait(ctx, max(wait, after)); waitErr != nil {
			return retries, fmt.Errorf("giving up after %d tries (%w), the last of which said: %w", retries, waitErr, err)
		}
	}
}

// post tries once. after is how long the collector asks to be left alone.
func (c *Client) post(ctx context.Context, payload []byte) (after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Endpoint+c.Path, bytes.NewReader(payload))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	request.SetBasicAuth(c.WriteKey, "")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	switch {
	case response.StatusCode == http.StatusOK:
		return 0, nil // the status is the acknowledgement, whatever became of the body
	case response.StatusCode == http.StatusRequestTimeout || response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // absent or a date: no wish
		return min(time.Duration(seconds)*time.Second, longestWait), fmt.Errorf("%s: %s", response.Status, text)
	case err != nil:
		return 0, fmt.Errorf("%w: %s", errRefused, response.Status)
	default:
		return 0, fmt.Errorf("%w: %s: %s", errRefused, response.Status, text)
	}
}

func pack(payload []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(payload); err != nil {
		return nil, fmt.Errorf("packing a request: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("packing a request: %w", err)
	}
	return out.Bytes(), nil
}

// Sleep is the Wait of real time.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
