package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

// The limits of requests. docs/destinations/webhook.md tells them to those who write receivers.
const (
	// RequestTimeout is how long a receiver may take for one batch.
	RequestTimeout = 20 * time.Second
	// maxAnswer bounds an answer: 500 rejections of 300 bytes each are 150 KB.
	maxAnswer = 1 << 20
	// maxRedirects within the same host; receivers behind a path change need one.
	maxRedirects = 3
)

// endpoint is an HTTP server that batches are posted to.
type endpoint struct {
	host   string // scheme://host:port: all of the URL that may be shown, for the rest may hold a credential
	client *http.Client
	// address is the field of the Destination that names the URL.
	address string
	// login is the field that names the credential that is sent; empty: none is. offer is the field that could name one.
	login, offer string
	// trace, if there is one, is shown requests and answers. hidden keeps the path from it: a person wrote it, and may have
	// put a credential in.
	trace  *trace
	hidden bool
}

// observe lets a rehearsal see requests.
func (e *endpoint) observe(t *trace) { e.trace = t }

// shown is what may be shown of a URL.
func (e *endpoint) shown(to string) string {
	if e.hidden {
		return e.host + "/…"
	}
	return to
}

// errRedirect : a redirect that is not followed, because the members would go elsewhere or not at all.
var errRedirect = errors.New("redirect refused")

// newEndpoint makes an endpoint. It fails when the URL cannot be used.
func newEndpoint(address, field, login, offer string) (endpoint, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return endpoint{}, run.Refuse(ReasonInvalidSpec, "%s of the Destination is not of the form https://host/path", field)
	}
	if parsed.User != nil {
		return endpoint{}, run.Refuse(ReasonInvalidSpec,
			"%s of the Destination holds a user or password; put a token in a Secret and name it in %s", field, offer)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = RequestTimeout
	transport.MaxIdleConnsPerHost = 2
	return endpoint{
		host: parsed.Scheme + "://" + parsed.Host, address: field, login: login, offer: offer,
		client: &http.Client{Transport: transport, Timeout: RequestTimeout, CheckRedirect: sameHost},
	}, nil
}

// sameHost follows a redirect only if the batch goes to the same host by the same method again (307, 308).
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0]
	if next.Method != first.Method || next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme ||
		len(via) > maxRedirects {
		return errRedirect
	}
	return nil
}

// Close closes idle connections.
func (e *endpoint) Close() error {
	e.client.CloseIdleConnections()
	return nil
}

// post sends JSON; see send.
func (e *endpoint) post(ctx context.Context, to string, header http.Header, body []byte) (*http.Response, []byte, error) {
	return e.send(ctx, http.MethodPost, to, header, body)
}

// send sends JSON and reads the answer, at most maxAnswer+1 bytes of it. It fails when there was no whole answer.
func (e *endpoint) send(ctx context.Context, method, to string, header http.Header, body []byte) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("making a request to %s: %w", e.host, withoutURL(err))
	}
	request.Header = header
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "kohort")
	if err := e.trace.request(method, e.shown(to), request.Header, body); err != nil {
		return nil, nil, err
	}
	counted(ctx)
	response, err := e.client.Do(request)
	if err != nil {
		return nil, nil, e.unanswered(err)
	}
	defer response.Body.Close() // read to its end, or given up
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, &UnavailableError{Err: fmt.Errorf("%s answered %s and broke off: %w", e.host, statusLine(response), withoutURL(err))}
	}
	e.trace.answer(statusLine(response), answer)
	return response, answer, nil
}

// unanswered tells why a request had no answer.
func (e *endpoint) unanswered(err error) error {
	if errors.Is(err, errRedirect) {
		return run.Refuse(ReasonUnreachable,
			"%s redirects to another host, or in a way that turns POST into GET; members are sent to the host in %s only: set it to the final address", e.host, e.address)
	}
	cause := withoutURL(err)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &UnavailableError{Err: fmt.Errorf("%s did not answer within %s; look at the receiver's log", e.host, RequestTimeout)}
	}
	var dial *net.OpError
	var resolve *net.DNSError
	unconnected := errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &resolve)
	return &UnavailableError{Unconnected: unconnected, Err: fmt.Errorf("connecting to %s: %w; check that it runs and that %s is right", e.host, cause, e.address)}
}

// withoutURL takes the URL out of an error of package net/http: its path and query may hold a credential.
func withoutURL(err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}

// failure turns an answer that is about the connection and not about what was sent into the kind of error that the
// caller's policy is about; nil for any other answer.
func (e *endpoint) failure(response *http.Response) error {
	status := response.StatusCode
	switch {
	case status == http.StatusTooManyRequests:
		return &UnavailableError{After: retryAfter(response), Overloaded: true, Err: e.answered(response, "it asks for fewer requests")}
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500:
		return &UnavailableError{After: retryAfter(response), Err: e.answered(response, "look at the receiver's log")}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &run.Failure{Reason: ReasonUnreachable, Fatal: true, Err: e.answered(response, e.loginRemedy())}
	case status >= 300 && status < 400:
		return &run.Failure{Reason: ReasonUnreachable, Fatal: true,
			Err: e.answered(response, "members are not sent where an answer points to; set "+e.address+" to the final address")}
	case isWrongAddress(status):
		return &run.Failure{Reason: ReasonUnreachable, Fatal: true,
			Err: e.answered(response, "there is no receiver at this path; check "+e.address)}
	}
	return nil
}

// isWrongAddress says whether a status is about the address and not about what was sent.
func isWrongAddress(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone,
		http.StatusMisdirectedRequest, http.StatusUpgradeRequired:
		return true
	}
	return false
}

func (e *endpoint) loginRemedy() string {
	if e.login == "" {
		return "it wants a token; put it in a Secret and name its key in " + e.offer
	}
	return "it refuses the token; check the Secret key that " + e.login + " names"
}

// answered describes an answer by its status, and says what to do. The status text is Go's own: a server may write
// anything into its own.
func (e *endpoint) answered(response *http.Response, remedy string) error {
	return fmt.Errorf("%s answered %s: %s", e.host, statusLine(response), remedy)
}

func statusLine(response *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode)))
}
