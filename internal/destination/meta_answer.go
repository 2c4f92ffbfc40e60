package destination

import (
	"encoding/json"
	"net/http"
	"time"

	"kohort.dev/kohort/internal/run"
)

// graphError is how the Graph API says what went wrong, whatever the HTTP status:
// https://developers.facebook.com/docs/graph-api/guides/error-handling
type graphError struct {
	Error *struct {
		Code      int    `json:"code"`
		Subcode   int    `json:"error_subcode"`
		Transient bool   `json:"is_transient"`
		Message   string `json:"message"`
		User      string `json:"error_user_msg"`
	} `json:"error"`
}

// Codes of the Graph API and the Marketing API.
const (
	graphUnknown         = 1
	graphService         = 2
	graphInvalid         = 100     // a parameter; the subcode tells which
	graphTokenExpired    = 102     // of a session
	graphToken           = 190     // of any other kind
	graphNoObject        = 33      // subcode: there is no such object, or no right to it
	graphAudienceBlocked = 1713230 // subcode: Meta restricts the audience
	graphTerms           = 1870034 // subcode: the terms of Custom Audiences are not accepted
)

// graphFailure reads an error of the Graph API; nil when the answer is none.
func (m *Meta) graphFailure(response *http.Response, answer []byte) error {
	var said graphError
	_ = json.Unmarshal(answer, &said) // what is no JSON says nothing
	e := said.Error
	if e == nil {
		return nil
	}
	text := e.Message
	if e.User != "" {
		text = e.User
	}
	text = scrub(text, Operation{})
	fatal := func(remedy string) error {
		return run.Refuse(ReasonUnreachable, "Meta refuses with code %d (subcode %d): %s; %s", e.Code, e.Subcode, text, remedy)
	}
	switch {
	case isGraphRate(e.Code):
		return &UnavailableError{After: graphPause(response), Overloaded: true, Err: run.Fail(ReasonUnreachable, "Meta asks for fewer requests (code %d): %s", e.Code, text)}
	case e.Transient || e.Code == graphUnknown || e.Code == graphService:
		return &UnavailableError{Err: run.Fail(ReasonUnreachable, "Meta has trouble of its own (code %d): %s", e.Code, text)}
	case e.Code == graphToken || e.Code == graphTokenExpired:
		return fatal("make a new access token and put it into the Secret key that " + metaToken + " names")
	case e.Code == 3 || e.Code == 10 || e.Code >= 200 && e.Code < 300:
		return fatal("give the token's system user the permission ads_management and the audience's ad account")
	case e.Code == graphInvalid && e.Subcode == graphNoObject:
		return fatal("check spec.metaCustomAudience.audienceID, and that the token's system user has the audience's ad account")
	case e.Code == graphInvalid && e.Subcode == graphAudienceBlocked:
		return fatal("resolve the restriction in Meta's Audience Manager, or make another audience")
	case e.Code == graphInvalid && e.Subcode == graphTerms:
		return fatal("accept the Custom Audience terms for the ad account in Meta's Ads Manager")
	}
	return &RefusedError{Reason: "InvalidParameter", Message: text}
}

// isGraphRate says whether a code means too many requests:
// https://developers.facebook.com/docs/graph-api/overview/rate-limiting
func isGraphRate(code int) bool {
	switch code {
	case 4, 17, 32, 613:
		return true
	}
	return code >= 80_000 && code <= 80_014
}

// graphPause is how long Meta asks to be left alone, in its own header: by the id of a business, a list of uses, each
// with the minutes until there is room again.
func graphPause(response *http.Response) time.Duration {
	var uses map[string][]struct {
		Minutes int `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(response.Header.Get("X-Business-Use-Case-Usage")), &uses) != nil {
		return retryAfter(response)
	}
	var longest time.Duration
	for _, list := range uses {
		for _, use := range list {
			longest = max(longest, time.Duration(use.Minutes)*time.Minute)
		}
	}
	return min(max(longest, 0), maxRetryAfter)
}
