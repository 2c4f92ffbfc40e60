package destination

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// segmentAPI takes batches as Segment does, and refuses what it refuses.
type segmentAPI struct {
	status int // of every answer; 0: 200
	answer string
	header http.Header
	bodies [][]byte
}

func (a *segmentAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.header = r.Header
	a.bodies = append(a.bodies, body)
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/v1/batch":
		w.WriteHeader(http.StatusNotFound)
	case a.status != 0:
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.answer)
	case len(body) > 500<<10:
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"success":true}`)
	}
}

// lines gives one short line for each call that came.
func (a *segmentAPI) lines(t *testing.T) (lines, ids []string) {
	t.Helper()
	for _, body := range a.bodies {
		var batch struct{ Batch []map[string]any }
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Fatal(err)
		}
		for _, call := range batch.Batch {
			line := fmt.Sprint(call["type"], " ")
			if call["event"] != nil {
				line += fmt.Sprint(call["event"], " ")
			}
			for _, part := range []string{"userId", "anonymousId", "traits", "properties"} {
				if call[part] != nil {
					text, _ := json.Marshal(call[part])
					line += part + "=" + string(text) + " "
				}
			}
			lines, ids = append(lines, strings.TrimSpace(line)), append(ids, call["messageId"].(string))
		}
	}
	return lines, ids
}

func segmentTo(t *testing.T, api *segmentAPI, calls ...string) *Segment {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	s, err := NewSegment(SegmentConfig{
		URL: server.URL + "/", KeyFile: file(t, secret+"\n"), Calls: calls, Audience: "vip-buyers.eu", Sync: "vip-seg", Platform: "shop",
		Now: func() time.Time { return time.Unix(1795437000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSegmentCalls(t *testing.T) {
	traits := map[string]json.RawMessage{"tariff": []byte(`"pro"`), "city": []byte("null")}
	ids := func(kind string, values ...string) map[string][]string { return map[string][]string{kind: values} }
	both := map[string][]string{"userId": {"u1"}, "anonymousId": {"a1"}, "email": {"ada@example.com"}}
	for _, c := range []struct {
		why   string
		calls []string
		op    Operation
		want  []string
	}{
		{"who enters is told of by both calls, with the traits that are mapped", []string{"Identify", "Track"}, Operation{Op: OpUpsert, New: true, Identifiers: ids("userId", "u1"), Traits: traits}, []string{
			`identify userId="u1" traits={"city":null,"tariff":"pro","vip_buyers_eu":true}`,
			`track Audience Entered userId="u1" properties={"audience_key":"vip_buyers_eu","vip_buyers_eu":true}`}},
		{"who changes has not entered again", []string{"Identify", "Track"}, Operation{Op: OpUpsert, Identifiers: ids("userId", "u1"), Traits: traits}, []string{
			`identify userId="u1" traits={"city":null,"tariff":"pro","vip_buyers_eu":true}`}},
		{"every userId is told of", []string{"Identify"}, Operation{Op: OpUpsert, New: true, Identifiers: ids("userId", "u1", "u2")}, []string{
			`identify userId="u1" traits={"vip_buyers_eu":true}`, `identify userId="u2" traits={"vip_buyers_eu":true}`}},
		{"devices are not told of when a userId is: the receiver would see more people than there are", []string{"Identify"}, Operation{Op: OpUpsert, New: true, Identifiers: both}, []string{
			`identify userId="u1" traits={"vip_buyers_eu":true}`}},
		{"guests are known by their devices", []string{"Track"}, Operation{Op: OpUpsert, New: true, Identifiers: ids("anonymousId", "a1", "a2")}, []string{
			`track Audience Entered anonymousId="a1" properties={"audience_key":"vip_buyers_eu","vip_buyers_eu":true}`,
			`track Audience Entered anonymousId="a2" properties={"audience_key":"vip_buyers_eu","vip_buyers_eu":true}`}},
		{"who leaves is told of by every id", []string{"Identify", "Track"}, Operation{Op: OpRemove, Identifiers: both}, []string{
			`identify userId="u1" traits={"vip_buyers_eu":false}`, `track Audience Exited userId="u1" properties={"audience_key":"vip_buyers_eu","vip_buyers_eu":false}`,
			`identify anonymousId="a1" traits={"vip_buyers_eu":false}`, `track Audience Exited anonymousId="a1" properties={"audience_key":"vip_buyers_eu","vip_buyers_eu":false}`}},
		{"a removal of one whose ids are all another's now has nothing to say", []string{"Identify"}, Operation{Op: OpRemove}, nil},
	} {
		api := &segmentAPI{}
		c.op.ID, c.op.Version = "11111111-1111-5111-8111-111111111111", 4
		results, err := segmentTo(t, api, c.calls...).Deliver(context.Background(), Batch{Key: "k", Operations: []Operation{c.op}})
		if err != nil || !cmp.Equal(results, make([]Result, 1)) {
			t.Errorf("%s: %v, %v", c.why, results, err)
			continue
		}
		if lines, _ := api.lines(t); !cmp.Equal(lines, c.want) {
			t.Errorf("%s: %s", c.why, cmp.Diff(c.want, lines))
		}
	}
}

func TestSegmentEnvelope(t *testing.T) {
	api := &segmentAPI{}
	s := segmentTo(t, api, "Track")
	op := Operation{Op: OpUpsert, New: true, ID: "x", Version: 7, Identifiers: map[string][]string{"userId": {"u1"}}}
	for range 2 {
		if _, err := s.Deliver(context.Background(), Batch{Operations: []Operation{op}}); err != nil {
			t.Fatal(err)
		}
	}
	op.Version++
	if _, err := s.Deliver(context.Background(), Batch{Operations: []Operation{op}}); err != nil {
		t.Fatal(err)
	}
	_, ids := api.lines(t)
	if ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("messageIds %q: the same call has one, a later one another", ids)
	}
	user, password, _ := (&http.Request{Header: api.header}).BasicAuth()
	if user != secret || password != "" {
		t.Errorf("logged in as %q:%q", user, password)
	}
	want := `{"batch":[{"type":"track","messageId":"` + ids[0] + `","userId":"u1","event":"Audience Entered",` +
		`"properties":{"audience_key":"vip_buyers_eu","vip_buyers_eu":true},"context":{"library":{"name":"kohort"},"personas":{` +
		`"computation_class":"audience","computation_id":"vip-buyers.eu","computation_key":"vip_buyers_eu","namespace":"users","space_id":"shop"}},` +
		`"timestamp":"2026-11-23T12:30:00.000Z"}]}`
	if string(api.bodies[0]) != want {
		t.Error(cmp.Diff(want, string(api.bodies[0])))
	}
}

func TestSegmentRowsThatCannotGo(t *testing.T) {
	api := &segmentAPI{}
	user := map[string][]string{"userId": {"u1"}}
	operations := []Operation{
		{Op: OpUpsert, ID: "a", New: true, Identifiers: map[string][]string{"email": {"ada@example.com"}}},
		{Op: OpUpsert, ID: "b", New: true, Identifiers: user, Traits: map[string]json.RawMessage{"bio": []byte(`"` + strings.Repeat("x", 33<<10) + `"`)}},
		{Op: OpUpsert, ID: "c", New: true, Identifiers: user},
	}
	results, err := segmentTo(t, api, "Identify").Deliver(context.Background(), Batch{Operations: operations})
	if err != nil || results[0].Reason != "NoIdentifier" || results[1].Reason != "TooLarge" || results[2].Rejected {
		t.Errorf("%+v, %v", results, err)
	}
	if lines, _ := api.lines(t); len(lines) != 1 {
		t.Errorf("one row could go, and %q came", lines)
	}
}

func TestSegmentBodiesStayBelowTheLimit(t *testing.T) {
	api := &segmentAPI{}
	var operations []Operation
	for i := range 500 {
		operations = append(operations, Operation{Op: OpUpsert, ID: fmt.Sprint(i), New: true, Identifiers: map[string][]string{"userId": {fmt.Sprint("u", i)}},
			Traits: map[string]json.RawMessage{"bio": []byte(`"` + strings.Repeat("x", 4<<10) + `"`)}})
	}
	if _, err := segmentTo(t, api, "Identify").Deliver(context.Background(), Batch{Operations: operations}); err != nil {
		t.Fatal(err)
	}
	lines, _ := api.lines(t)
	if len(lines) != 500 || len(api.bodies) < 5 || len(api.bodies) > 6 {
		t.Errorf("%d calls came in %d requests", len(lines), len(api.bodies))
	}
}

func TestSegmentAnswers(t *testing.T) {
	for _, c := range []struct {
		why    string
		status int
		answer string
		kind   string
	}{
		{"a bad write key needs a person", 401, "", "fatal"},
		{"a bad request is about a row, and the sender finds which", 400, `{"success":false}`, "refused"},
		{"too many requests", 429, "", "overloaded"},
		{"its trouble passes", 503, "", "unavailable"},
		{"a page of a proxy is no acceptance", 200, "<html>", "fatal"},
		{"there is no such path", 404, "", "fatal"},
	} {
		s := segmentTo(t, &segmentAPI{status: c.status, answer: c.answer}, "Identify")
		_, err := s.Deliver(context.Background(), Batch{Operations: []Operation{{Op: OpUpsert, Identifiers: map[string][]string{"userId": {"u"}}}}})
		if kind, _ := kindOf(err); kind != c.kind {
			t.Errorf("%s: %s (%v), want %s", c.why, kind, err, c.kind)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte(secret+":")))) {
			t.Errorf("%s: the error shows the write key: %v", c.why, err)
		}
	}
}

func TestSegmentSpec(t *testing.T) {
	for why, config := range map[string]SegmentConfig{
		"a URL without a host":  {URL: "https://", Calls: []string{"Track"}},
		"a login in the URL":    {URL: "https://key@api.segment.io", Calls: []string{"Track"}},
		"a call of another API": {URL: "https://api.segment.io", Calls: []string{"Page"}},
		"no call at all":        {URL: "https://api.segment.io"},
	} {
		_, err := NewSegment(config)
		if kind, _ := kindOf(err); kind != "fatal" || !strings.Contains(err.Error(), "spec.segment.") {
			t.Errorf("%s: %v", why, err)
		}
	}
}
