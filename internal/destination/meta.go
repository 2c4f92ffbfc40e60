package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"kohort.dev/kohort/internal/destination/hashing"
	"kohort.dev/kohort/internal/run"
)

// maxMetaRows of a request:
// https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences
const maxMetaRows = 10_000

const metaToken = "spec.metaCustomAudience.accessTokenSecretRef"

// metaMatching are the keys of a Custom Audience's schema.
var metaMatching = matching{
	types: []matchType{
		{"EXTERN_ID", []string{"userId"}}, {"EMAIL", []string{"email"}}, {"PHONE", []string{"phone"}},
		{"MADID", []string{"idfa", "gaid", "aaid", "advertisingId", "ios.idfa", "android.idfa"}},
	},
	traits: []string{"FN", "LN", "FI", "GEN", "DOBY", "DOBM", "DOBD", "CT", "ST", "ZIP", "COUNTRY"},
	rules:  hashing.Meta(),
}

// MetaConfig tells which Custom Audience a Meta fills.
type MetaConfig struct {
	URL       string // of the Graph API, with its version
	Audience  string // the id of the Custom Audience
	TokenFile string // the file of the access token
	Fields    []string
}

// Meta puts members into a Custom Audience and takes them out. docs/destinations/meta.md describes what is sent.
type Meta struct {
	endpoint
	config MetaConfig
	users  string // the URL of the audience's users
}

// NewMeta makes a Meta. It fails when the URL or a field cannot be used.
func NewMeta(config MetaConfig) (*Meta, error) {
	to, err := newEndpoint(config.URL, "spec.metaCustomAudience.url", metaToken, metaToken)
	if err != nil {
		return nil, err
	}
	if err := metaMatching.checkFields(config.Fields, "Meta"); err != nil {
		return nil, err
	}
	return &Meta{endpoint: to, config: config, users: config.URL + "/" + config.Audience + "/users"}, nil
}

// Holder is the audience. The version of the API is no part of it.
func (m *Meta) Holder() string { return m.host + "/" + m.config.Audience }

// metaPayload of a request: the keys, and a row of values in their order for each combination of identifiers.
type metaPayload struct {
	Schema []string   `json:"schema"`
	Data   [][]string `json:"data"`
}

// Deliver puts a batch into effect; see Destination. Adding who is there, and removing who is not, changes nothing.
func (m *Meta) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	results := make([]Result, len(batch.Operations))
	for start := 0; start < len(batch.Operations); {
		end, rows := start, [][]map[string]string{}
		op, count := batch.Operations[start].Op, 0
		for end < len(batch.Operations) && batch.Operations[end].Op == op {
			of := metaRows(batch.Operations[end])
			if count > 0 && count+len(of) > maxMetaRows {
				break
			}
			if len(of) == 0 && op == OpUpsert {
				results[end] = unmatchable("a userId, email, phone or advertising id")
			}
			rows, count, end = append(rows, of), count+len(of), end+1
		}
		if err := m.request(ctx, op, slices.Concat(rows...)); err != nil {
			return nil, err
		}
		start = end
	}
	return results, nil
}

// metaRows of an operation: as many as it has values of one key, each with the next value of every other; and in each the
// traits, which Meta matches together with what else is in the row.
func metaRows(o Operation) []map[string]string {
	ids := metaMatching.identifiers(o)
	count := 0
	for _, values := range ids {
		count = max(count, len(values))
	}
	rows := make([]map[string]string, count)
	for i := range rows {
		row := map[string]string{}
		for key, values := range ids {
			if i < len(values) {
				row[key] = values[i]
			}
		}
		for _, field := range metaMatching.traits {
			if value, ok := metaMatching.trait(o, field); ok {
				row[field] = value
			}
		}
		rows[i] = row
	}
	return rows
}

// payload of rows: with the keys that any of them has, in a fixed order; a missing value is an empty text.
func payload(rows []map[string]string) metaPayload {
	var keys []string
	for _, t := range metaMatching.types {
		keys = append(keys, t.key)
	}
	keys = append(keys, metaMatching.traits...)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		return !slices.ContainsFunc(rows, func(row map[string]string) bool { return row[key] != "" })
	})
	out := metaPayload{Schema: keys, Data: make([][]string, len(rows))}
	for i, row := range rows {
		out.Data[i] = make([]string, len(keys))
		for j, key := range keys {
			out.Data[i][j] = row[key]
		}
	}
	return out
}

// request adds rows or removes them.
func (m *Meta) request(ctx context.Context, op Op, rows []map[string]string) error {
	if len(rows) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]metaPayload{"payload": payload(rows)})
	if err != nil {
		return fmt.Errorf("encoding a batch for %s: %w", m.host, err)
	}
	token, err := readSecret(m.config.TokenFile, metaToken)
	if err != nil {
		return err
	}
	method, header := http.MethodPost, http.Header{}
	if op == OpRemove {
		method = http.MethodDelete
	}
	header.Set("Authorization", "Bearer "+token)
	response, answer, err := m.send(ctx, method, m.users, header, body) //nolint:bodyclose // send has read and closed it
	if err != nil {
		return err
	}
	return m.judge(response, answer, len(rows))
}

// metaAnswer is what Meta says of an accepted request.
type metaAnswer struct {
	Received *int `json:"num_received"`
	Invalid  int  `json:"num_invalid_entries"`
}

// judge turns an answer into the kind of error that the caller's policy is about. Meta counts invalid rows and does not
// say which they are: the batch is refused, and the sender finds them; to add the others again changes nothing.
func (m *Meta) judge(response *http.Response, answer []byte, rows int) error {
	if err := m.graphFailure(response, answer); err != nil {
		return err
	}
	if err := m.failure(response); err != nil {
		return err
	}
	var said metaAnswer
	if response.StatusCode >= 300 || json.Unmarshal(answer, &said) != nil || said.Received == nil {
		return run.Refuse(ReasonUnreachable, "%s answered %s and not as the Graph API does; check spec.metaCustomAudience.url", m.host, statusLine(response))
	}
	switch {
	case said.Invalid > 0:
		return &RefusedError{Reason: "InvalidEntries", Message: "Meta counts entries of the row as invalid"}
	case *said.Received != rows:
		return &UnavailableError{Err: fmt.Errorf("%s received %d rows of %d", m.host, *said.Received, rows)}
	}
	return nil
}
