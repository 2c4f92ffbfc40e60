package engine

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/unmerge"
)

const (
	// unmergeTimeout bounds an answer, which reads all that a customer ever did, perhaps twice.
	unmergeTimeout = 2 * time.Minute
	// appliedWithin is how long a request is waited for.
	appliedWithin = 10 * time.Second
)

// Unmerged is the answer to POST /v1/identity/unmerge.
type Unmerged struct {
	// Applied says that it was done. When neither this nor DryRun is set, the request is on the stream's disk and
	// ingestion has not come to it yet.
	Applied bool `json:"applied"`
	DryRun  bool `json:"dryRun"`
	// Message is the request's place in the stream; a dry run has none.
	Message uint64 `json:"message,omitempty"`
	// Profiles that the one is divided into, the one that keeps its id first; what was foreseen while it is not applied.
	Profiles []unmerge.Profile `json:"profiles"`
}

// unmerge answers POST /v1/identity/unmerge?identifier={type}:{value}&from={type}:{value}&dryRun=true.
func (a *api) unmerge(ctx context.Context, r *http.Request) (any, error) {
	c, dryRun, err := cutIn(r)
	if err != nil {
		return nil, err
	}
	rules, conn, err := a.known(ctx)
	if err != nil {
		return nil, err
	}
	c.Value, c.From.Value = normalised(rules, c.Type, c.Value), normalised(rules, c.From.Type, c.From.Value)
	answer := Unmerged{DryRun: dryRun}
	if answer.Profiles, err = unmerge.Preview(ctx, conn, rules, c); err != nil {
		return nil, cannotCut(identity.Refusal(err), err)
	}
	if dryRun {
		return answer, nil
	}
	if answer.Message, err = unmerge.Send(ctx, a.stream, c, time.Now().UTC()); err != nil {
		a.logger.Warn("asking to unmerge", "error", err.Error())
		return nil, refusal{http.StatusServiceUnavailable, "StreamUnavailable", "the stream does not acknowledge; send the same request again"}
	}
	waiting, cancel := context.WithTimeout(ctx, appliedWithin)
	defer cancel()
	done, err := unmerge.Await(waiting, conn, answer.Message)
	switch {
	case err != nil:
		return nil, err
	case done == nil:
		return answer, nil
	case done.Refusal != "":
		return nil, cannotCut(done.Refusal, errors.New("what came before the request has changed the profile; look again with dryRun=true"))
	}
	answer.Applied = true
	answer.Profiles, err = unmerge.Left(ctx, conn, rules, *done, answer.Message)
	return answer, err
}

// cutIn reads what is to be cut.
func cutIn(r *http.Request) (c identity.Cut, dryRun bool, err error) {
	query := r.URL.Query()
	for _, field := range []struct {
		name     string
		id       *identity.Identifier
		optional bool
	}{{"identifier", &c.Identifier, false}, {"from", &c.From, true}} {
		text := query.Get(field.name)
		if text == "" && field.optional {
			continue
		}
		kind, value, ok := strings.Cut(text, ":")
		if !ok || kind == "" || value == "" || len(value) > maxIdentifier {
			return c, false, refusal{http.StatusBadRequest, "BadIdentifier", field.name + " is {type}:{value}, such as userId:42 or email:ada@example.com, the value at most 1024 bytes"}
		}
		*field.id = identity.Identifier{Type: kind, Value: value}
	}
	if text := query.Get("dryRun"); text != "" {
		if dryRun, err = strconv.ParseBool(text); err != nil {
			return c, false, refusal{http.StatusBadRequest, "BadDryRun", "dryRun is true, to see what would change, or false"}
		}
	}
	return c, dryRun, nil
}

// cannotCut is the answer to a request that there is nothing to do for; err is the warehouse's when it has no code.
func cannotCut(code string, err error) error {
	switch code {
	case "":
		return err
	case identity.RefusedUnknown:
		return refusal{http.StatusNotFound, code, err.Error()}
	case identity.RefusedNotOne:
		return refusal{http.StatusNotFound, code, "identifier and from are not of one profile: " + err.Error()}
	}
	return refusal{http.StatusConflict, code, err.Error()}
}
