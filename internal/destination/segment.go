package destination

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

// The limits of Segment's HTTP API (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/).
// A call above its limit is dropped there without a word, so such a row is rejected here.
const (
	maxSegmentCall  = 32 << 10
	maxSegmentBatch = 500 << 10
	// segmentEnvelope is more than the body has beside its calls and the commas between them.
	segmentEnvelope = 128
)

// Calls that a SegmentConfig names.
const (
	callIdentify = "Identify"
	callTrack    = "Track"
)

const segmentKey = "spec.segment.writeKeySecretRef"

// SegmentConfig tells where and of what a Segment tells.
type SegmentConfig struct {
	URL      string           // of the API, without /v1/batch
	KeyFile  string           // the file of the write key
	Calls    []string         // Identify, Track
	Audience string           // its name; as a key of Segment's, - and . are _
	Sync     string           // its name
	Platform string           // its name
	Now      func() time.Time // for the time of a call; nil: the system's clock
}

// Segment tells of members as Segment's own audiences do: by a trait that is true or false, and by the events Audience
// Entered and Audience Exited. docs/destinations/segment.md describes the calls.
type Segment struct {
	endpoint
	config   SegmentConfig
	key      string // of the audience
	callsURL string // that calls are posted to
}

// NewSegment makes a Segment. It fails when the URL or a call cannot be used.
func NewSegment(config SegmentConfig) (*Segment, error) {
	to, err := newEndpoint(config.URL, "spec.segment.url", segmentKey, segmentKey)
	if err != nil {
		return nil, err
	}
	for _, call := range config.Calls {
		if call != callIdentify && call != callTrack {
			return nil, run.Refuse(ReasonInvalidSpec, "spec.segment.calls of the Destination has %q; the calls are Identify and Track", call)
		}
	}
	if len(config.Calls) == 0 {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.segment.calls of the Destination is empty; name Identify, Track or both")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Segment{
		endpoint: to, config: config, callsURL: strings.TrimRight(config.URL, "/") + "/v1/batch",
		key: strings.NewReplacer("-", "_", ".", "_").Replace(config.Audience),
	}, nil
}

// Holder is the URL. A source there cannot be told from its write key without showing that.
func (s *Segment) Holder() string { return s.config.URL }

// segmentCall is one call of a batch.
type segmentCall struct {
	Type        string                     `json:"type"`
	MessageID   string                     `json:"messageId"`
	UserID      string                     `json:"userId,omitempty"`
	AnonymousID string                     `json:"anonymousId,omitempty"`
	Event       string                     `json:"event,omitempty"`
	Traits      map[string]json.RawMessage `json:"traits,omitempty"`
	Properties  map[string]any             `json:"properties,omitempty"`
	Context     segmentContext             `json:"context"`
	Timestamp   string                     `json:"timestamp"`
}

type segmentContext struct {
	Library  segmentLibrary  `json:"library"`
	Personas segmentPersonas `json:"personas"`
}

type segmentLibrary struct {
	Name string `json:"name"`
}

// segmentPersonas is how receivers know a call for one about an audience.
type segmentPersonas struct {
	Class     string `json:"computation_class"`
	ID        string `json:"computation_id"`
	Key       string `json:"computation_key"`
	Namespace string `json:"namespace"`
	Space     string `json:"space_id"`
}

// Deliver makes the calls of a batch; see Destination. A call has the same messageId whenever it is made again, by which
// the receiver drops it.
func (s *Segment) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	results := make([]Result, len(batch.Operations))
	var encoded [][]byte
	for i, operation := range batch.Operations {
		calls := s.calls(operation)
		if len(calls) == 0 && operation.Op == OpUpsert {
			results[i] = Result{Rejected: true, Reason: "NoIdentifier",
				Message: "the customer has neither a userId nor an anonymousId among the identifiers that are sent"}
			continue
		}
		texts, err := encodeCalls(calls)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(texts, func(text []byte) bool { return len(text) > maxSegmentCall }) {
			results[i] = Result{Rejected: true, Reason: "TooLarge",
				Message: fmt.Sprintf("a call would have more than the %d bytes that Segment takes; map fewer traits", maxSegmentCall)}
			continue
		}
		encoded = append(encoded, texts...)
	}
	for _, body := range segmentBodies(encoded) {
		if err := s.call(ctx, body); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// calls that tell of an operation. Who has a userId is told of by each of these alone, others by each anonymousId; those
// who leave by every id, for which of them they were told of by before may have changed.
func (s *Segment) calls(o Operation) []segmentCall {
	users, guests := o.Identifiers["userId"], o.Identifiers["anonymousId"]
	if len(users) > 0 && o.Op == OpUpsert {
		guests = nil
	}
	var calls []segmentCall
	for _, id := range users {
		calls = s.appendCalls(calls, o, segmentCall{UserID: id})
	}
	for _, id := range guests {
		calls = s.appendCalls(calls, o, segmentCall{AnonymousID: id})
	}
	return calls
}

func (s *Segment) appendCalls(calls []segmentCall, o Operation, of segmentCall) []segmentCall {
	member := o.Op == OpUpsert
	of.Timestamp = s.config.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	of.Context = segmentContext{Library: segmentLibrary{Name: "kohort"}, Personas: segmentPersonas{
		Class: "audience", ID: s.config.Audience, Key: s.key, Namespace: "users", Space: s.config.Platform,
	}}
	if slices.Contains(s.config.Calls, callIdentify) {
		identify := of
		identify.Type, identify.Traits = "identify", map[string]json.RawMessage{}
		for field, value := range o.Traits {
			identify.Traits[field] = value
		}
		identify.Traits[s.key] = strconv.AppendBool(nil, member)
		calls = append(calls, s.identified(identify, o))
	}
	if slices.Contains(s.config.Calls, callTrack) && (o.New || !member) {
		track := of
		track.Type, track.Event = "track", "Audience Exited"
		if member {
			track.Event = "Audience Entered"
		}
		track.Properties = map[string]any{"audience_key": s.key, s.key: member}
		calls = append(calls, s.identified(track, o))
	}
	return calls
}

// identified gives a call its messageId.
func (s *Segment) identified(call segmentCall, o Operation) segmentCall {
	hash := sha256.New()
	for _, part := range []string{s.config.Platform, s.config.Sync, o.ID, strconv.FormatUint(o.Version, 10), string(o.Op), call.Type, call.UserID, call.AnonymousID} {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(part), part) // a hash takes everything
	}
	call.MessageID = "kohort-" + hex.EncodeToString(hash.Sum(nil)[:16])
	return call
}

func encodeCalls(calls []segmentCall) ([][]byte, error) {
	texts := make([][]byte, len(calls))
	for i := range calls {
		text, err := json.Marshal(calls[i])
		if err != nil {
			return nil, fmt.Errorf("encoding a call: %w", err)
		}
		texts[i] = text
	}
	return texts, nil
}

// segmentBodies joins calls, in their order, into bodies of at most maxSegmentBatch.
func segmentBodies(calls [][]byte) [][]byte {
	var bodies [][]byte
	for start := 0; start < len(calls); {
		end, size := start, segmentEnvelope
		for end < len(calls) && (end == start || size+len(calls[end])+1 <= maxSegmentBatch) {
			size += len(calls[end]) + 1
			end++
		}
		body := append([]byte(`{"batch":[`), bytes.Join(calls[start:end], []byte(","))...)
		bodies = append(bodies, append(body, ']', '}'))
		start = end
	}
	return bodies
}

// call makes one request.
func (s *Segment) call(ctx context.Context, body []byte) error {
	key, err := readSecret(s.config.KeyFile, segmentKey)
	if err != nil {
		return err
	}
	header := http.Header{}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(key+":")))
	response, answer, err := s.post(ctx, s.callsURL, header, body) //nolint:bodyclose // post has read and closed it
	if err != nil {
		return err
	}
	if err := s.failure(response); err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return &RefusedError{Reason: "HTTP" + strconv.Itoa(response.StatusCode), Message: "the receiver answered " + statusLine(response)}
	}
	if mediaType(response) == "text/html" || bytes.HasPrefix(bytes.TrimSpace(answer), []byte("<")) {
		return run.Refuse(ReasonUnreachable, "%s answered %s with a page, as a login or a proxy does; check spec.segment.url", s.host, statusLine(response))
	}
	return nil
}
