package destination

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

// maxRetryAfter is the longest that a Retry-After is believed; a run ends long before.
const maxRetryAfter = time.Hour

// judge turns an answer into results or the kind of error that the caller's policy is about.
func (w *Webhook) judge(response *http.Response, answer []byte, operations []Operation) ([]Result, error) {
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return w.accepted(response, answer, operations)
	}
	if err := w.failure(response); err != nil {
		return nil, err
	}
	return nil, &RefusedError{Reason: "HTTP" + strconv.Itoa(status), Message: refusal(response, answer, operations)}
}

// refusal describes a refusal of a whole batch. Only the message of a batch of one can be scrubbed for certain of the
// row's values, and only that one is kept.
func refusal(response *http.Response, answer []byte, operations []Operation) string {
	line := "the receiver answered " + statusLine(response)
	if len(operations) != 1 || !strings.HasPrefix(mediaType(response), "application/json") {
		return line
	}
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Message == "" {
		return line
	}
	return scrub(line+": "+said.Message, operations[0])
}

// rejections is the answer's body.
type rejections struct {
	Rejected []struct {
		ID      string `json:"id"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"rejected"`
}

// accepted reads which rows of an accepted batch were rejected. An answer that cannot be understood is no acceptance:
// it may come from a login page or a proxy, or name rejected rows in a way that we would miss.
func (w *Webhook) accepted(response *http.Response, answer []byte, operations []Operation) ([]Result, error) {
	if len(answer) > maxAnswer {
		return nil, run.Refuse(ReasonUnreachable, "%s answered with more than %d bytes; the answer must be empty or list rejected rows (docs/destinations/webhook.md)", w.host, maxAnswer)
	}
	results := make([]Result, len(operations))
	answer = bytes.TrimSpace(answer)
	if len(answer) == 0 {
		return results, nil
	}
	if answer[0] != '{' {
		if answer[0] != '<' && mediaType(response) != "text/html" {
			return results, nil // "ok", true and the like: no list of rows
		}
		return nil, run.Refuse(ReasonUnreachable, "%s answered %s with a page, as a login or a proxy does; check spec.webhook.url", w.host, statusLine(response))
	}
	var list rejections
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, run.Refuse(ReasonUnreachable, `%s answered %s with JSON that is not of the form {"rejected":[{"id":…,"reason":…,"message":…}]} (docs/destinations/webhook.md)`, w.host, statusLine(response))
	}
	if len(list.Rejected) == 0 {
		return results, nil
	}
	index := make(map[string]int, len(operations))
	for i, operation := range operations {
		index[operation.ID] = i
	}
	for _, row := range list.Rejected {
		i, ok := index[strings.ToLower(row.ID)]
		if !ok {
			return nil, run.Refuse(ReasonUnreachable, "%s rejected a row whose id was not in the request; id must be that of the operation (docs/destinations/webhook.md)", w.host)
		}
		results[i] = Result{Rejected: true, Reason: reason(row.Reason), Message: scrub(row.Message, operations[i])}
	}
	return results, nil
}

func mediaType(response *http.Response) string {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// retryAfter reads the header Retry-After (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(response *http.Response) time.Duration {
	text := strings.TrimSpace(response.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	// The receiver's own clock says when that is; ours may be off.
	now, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
