package destination

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// googleError is a google.rpc.Status as JSON: https://google.aip.dev/193
type googleError struct {
	Error *struct {
		Status  string `json:"status"`
		Message string `json:"message"`
		Details []struct {
			Type       string `json:"@type"`
			Violations []struct {
				Field       string `json:"field"`
				Description string `json:"description"`
				Reason      string `json:"reason"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// memberField is a field of one member of a request.
var memberField = regexp.MustCompile(`^(?:audience_members|audienceMembers)\[(\d+)\]`)

// judge turns an answer to a request for so many members into what it says of members, or into the kind of error that
// the caller's policy is about.
func (g *Google) judge(response *http.Response, answer []byte, members int) (map[int]Result, error) {
	if response.StatusCode == http.StatusConflict { // ABORTED: somebody else changes the same audience
		return nil, &UnavailableError{After: retryAfter(response), Err: g.answered(response, "another upload changes the same audience")}
	}
	if response.StatusCode != http.StatusBadRequest {
		if err := g.failure(response); err != nil {
			return nil, err
		}
	}
	if response.StatusCode < 300 {
		var accepted struct {
			RequestID string `json:"requestId"`
		}
		if json.Unmarshal(answer, &accepted) != nil || accepted.RequestID == "" {
			return nil, run.Refuse(ReasonUnreachable, "%s answered %s and not as the Data Manager API does; check spec.googleCustomerMatch.url", g.host, statusLine(response))
		}
		return nil, nil
	}
	var said googleError
	if json.Unmarshal(answer, &said) != nil || said.Error == nil {
		return nil, run.Refuse(ReasonUnreachable, "%s answered %s and not as the Data Manager API does; check spec.googleCustomerMatch.url", g.host, statusLine(response))
	}
	bad := map[int]Result{}
	for _, detail := range said.Error.Details {
		for _, v := range detail.Violations {
			i, ok := memberOf(v.Field, members)
			if !ok {
				return nil, run.Refuse(ReasonInvalidSpec, "Google refuses %s (%s): %s; correct spec.googleCustomerMatch", v.Field, v.Reason, scrub(v.Description, Operation{}))
			}
			bad[i] = Result{Rejected: true, Reason: reason(camel(v.Reason)), Message: scrub(v.Description, Operation{})}
		}
	}
	if len(bad) == 0 {
		return nil, &RefusedError{Reason: reason(camel(said.Error.Status)), Message: scrub(said.Error.Message, Operation{})}
	}
	return bad, nil
}

// memberOf gives the index of the member that a field belongs to.
func memberOf(field string, members int) (int, bool) {
	match := memberField.FindStringSubmatch(field)
	if match == nil {
		return 0, false
	}
	i, err := strconv.Atoi(match[1])
	return i, err == nil && i < members
}

// camel turns INVALID_HEX_ENCODING into InvalidHexEncoding.
func camel(word string) string {
	var out strings.Builder
	for _, part := range strings.Split(word, "_") {
		if part != "" {
			out.WriteString(strings.ToUpper(part[:1]) + strings.ToLower(part[1:]))
		}
	}
	return out.String()
}
