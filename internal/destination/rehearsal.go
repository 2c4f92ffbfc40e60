package destination

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// Rehearsal is what a destination is, or would be, sent of one record, without anything personal or secret.
type Rehearsal struct {
	// Sent : false if nothing left.
	Sent      bool       `json:"sent"`
	Exchanges []Exchange `json:"exchanges"`
	// Outcome of the record: NotSent, Delivered, Rejected, Unavailable or Failed.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`  // of Rejected and Failed, in one CamelCase word
	Message string `json:"message,omitempty"` // of all but Delivered
}

// Outcomes of a Rehearsal.
const (
	OutcomeNotSent     = "NotSent"     // the request is as it would be sent
	OutcomeDelivered   = "Delivered"   // the destination took the record
	OutcomeRejected    = "Rejected"    // it will not take this record
	OutcomeUnavailable = "Unavailable" // it may take it later
	OutcomeFailed      = "Failed"      // a person has to change something first
)

// Exchange is one request, or whatever else a destination is sent, with its answer.
type Exchange struct {
	// To whom and how, such as "POST https://host/path".
	To string `json:"to"`
	// Headers, as name: value, sorted.
	Headers []string `json:"headers,omitempty"`
	Body    string   `json:"body"`
	// Answer is empty when nothing was sent or nothing came back.
	Answer string `json:"answer,omitempty"`
}

// trace writes down what a destination sends. A nil trace does not.
type trace struct {
	send      bool
	mask      *mask
	exchanges []Exchange
}

// traced is a Destination that can be rehearsed.
type traced interface{ observe(*trace) }

// errNotSent ends a delivery before it leaves.
var errNotSent = errors.New("not sent")

// isDry says whether nothing may leave.
func (t *trace) isDry() bool { return t != nil && !t.send }

// say writes down something that is about to be sent. It fails when nothing may leave.
func (t *trace) say(e Exchange) error {
	if t == nil {
		return nil
	}
	t.exchanges = append(t.exchanges, e)
	if !t.send {
		return errNotSent
	}
	return nil
}

// request writes down an HTTP request. to is what may be shown of its URL.
func (t *trace) request(method, to string, header http.Header, body []byte) error {
	if t == nil {
		return nil
	}
	shown, secrets := shownHeaders(header)
	t.mask.secrets = secrets
	return t.say(Exchange{To: method + " " + to, Headers: shown, Body: t.mask.json(body)})
}

// maxShown of an answer, in bytes.
const maxShown = 4096

// answer writes down what came back for what was said last.
func (t *trace) answer(status string, body []byte) {
	if t == nil || len(t.exchanges) == 0 {
		return
	}
	text := t.mask.json(body[:min(len(body), maxShown)])
	t.exchanges[len(t.exchanges)-1].Answer = strings.TrimSpace(status + "\n" + strings.ToValidUTF8(text, "…"))
}

// openHeaders are those whose values are shown; any other may hold a credential, or what is made with one.
var openHeaders = []string{"Accept", "Content-Type", "Idempotency-Key", "User-Agent", headerID, headerTimestamp}

// shownHeaders gives the headers as they are shown, and what is left out of them.
func shownHeaders(header http.Header) (shown, secrets []string) {
	for name, values := range header {
		for _, value := range values {
			if !slices.Contains(openHeaders, name) {
				scheme, secret, split := strings.Cut(value, " ") // Bearer, Basic
				if value = "…"; split {
					value = scheme + " …"
				}
				secrets = append(secrets, cmp.Or(secret, scheme))
			}
			shown = append(shown, name+": "+value)
		}
	}
	if user, password, ok := (&http.Request{Header: header}).BasicAuth(); ok {
		secrets = append(secrets, user, password)
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
	slices.Sort(shown)
	return shown, secrets
}

// Rehearse shows what d is sent of one record, and with send sends it. public are texts that are shown as they are, for they
// name nobody. It fails for a Destination that cannot be rehearsed.
func Rehearse(ctx context.Context, d Destination, op Operation, public []string, send bool) (Rehearsal, error) {
	observed, ok := d.(traced)
	if !ok {
		return Rehearsal{}, fmt.Errorf("a %T cannot be tested", d)
	}
	t := &trace{send: send, mask: newMask(op, public)}
	observed.observe(t)
	defer observed.observe(nil)
	results, err := d.Deliver(ctx, Batch{Key: "test/" + op.ID, Operations: []Operation{op}})
	out := Rehearsal{Sent: send && len(t.exchanges) > 0, Exchanges: t.exchanges}
	out.Outcome, out.Reason, out.Message = ended(results, err)
	out.Message = t.mask.text(out.Message)
	if out.Exchanges == nil {
		out.Exchanges = []Exchange{}
	}
	return out, nil
}

// Failed is the rehearsal of a record that never came to be sent.
func Failed(err error) Rehearsal {
	out := Rehearsal{Exchanges: []Exchange{}}
	out.Outcome, out.Reason, out.Message = ended(nil, err)
	return out
}

// ended tells how the one record of a batch ended.
func ended(results []Result, err error) (outcome, reason, message string) {
	var unavailable *UnavailableError
	var refused *RefusedError
	var failure *run.Failure
	switch {
	case errors.Is(err, errNotSent):
		return OutcomeNotSent, "", "this is what would be sent; nothing was"
	case err == nil && len(results) == 1 && results[0].Rejected:
		return OutcomeRejected, results[0].Reason, results[0].Message
	case err == nil && len(results) == 1:
		return OutcomeDelivered, "", ""
	case err == nil:
		return OutcomeFailed, "RunFailed", fmt.Sprintf("the destination answered for %d rows of 1", len(results))
	case errors.As(err, &unavailable):
		return OutcomeUnavailable, ReasonUnreachable, unavailable.Error()
	case errors.As(err, &refused):
		return OutcomeRejected, refused.Reason, refused.Message
	case errors.As(err, &failure):
		return OutcomeFailed, failure.Reason, failure.Error()
	}
	return OutcomeFailed, "RunFailed", err.Error()
}
