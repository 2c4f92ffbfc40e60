package destination

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination/adtest"
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func metaTo(t *testing.T, api *adtest.Meta, token string, fields ...string) *Meta {
	t.Helper()
	m, err := NewMeta(MetaConfig{URL: api.URL + "/v25.0", Audience: api.Audience, TokenFile: file(t, token), Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func entering(id string, identifiers map[string][]string, traits map[string]json.RawMessage) Operation {
	return Operation{Op: OpUpsert, ID: id, New: true, Identifiers: identifiers, Traits: traits}
}

func TestMetaMembers(t *testing.T) {
	api := adtest.NewMeta(t)
	m := metaTo(t, api, adtest.MetaToken+"\n", "FN", "DOBY", "COUNTRY")
	results, err := m.Deliver(context.Background(), Batch{Operations: []Operation{
		entering("a", map[string][]string{"email": {" Ada@Example.com", "ada@old.example.com"}, "phone": {"+1 (650) 555-1212"}, "userId": {"u1"}},
			map[string]json.RawMessage{"FN": []byte(`"Ada"`), "DOBY": []byte("1986"), "COUNTRY": []byte("null")}),
		entering("b", map[string][]string{"phone": {"+0000000000", "0170 1234567"}, "email": {"alan@example.com"}}, nil),
		entering("c", map[string][]string{"phone": {"none"}, "anonymousId": {"x"}}, map[string]json.RawMessage{"FN": []byte(`"Cy"`)}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{{}, {}, {Rejected: true, Reason: "NoIdentifier", Message: "none of the customer's identifiers that are sent is a userId, email, phone or advertising id that can be used"}}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Error(diff)
	}
	name, born := " FN="+hashOf("ada"), " DOBY="+hashOf("1986")
	first := "EXTERN_ID=u1 EMAIL=" + hashOf("ada@example.com") + " PHONE=" + hashOf("16505551212") + name + born
	if diff := cmp.Diff([]string{"EMAIL=" + hashOf("ada@old.example.com") + name + born, "EMAIL=" + hashOf("alan@example.com"), first}, api.Rows()); diff != "" {
		t.Errorf("the audience holds: %s", diff)
	}
	if api.Requests() != 1 {
		t.Errorf("%d requests for one page", api.Requests())
	}
	// A removal has no traits, and everything that was ever sent.
	_, err = m.Deliver(context.Background(), Batch{Operations: []Operation{
		{Op: OpRemove, ID: "a", Identifiers: map[string][]string{"email": {"ada@example.com", "ada@old.example.com"}}},
		{Op: OpRemove, ID: "c", Identifiers: map[string][]string{"phone": {"none"}}},
		entering("d", map[string][]string{"email": {"dan@example.com"}}, nil),
	}})
	if diff := cmp.Diff([]string{"EMAIL=" + hashOf("alan@example.com"), "EMAIL=" + hashOf("dan@example.com")}, api.Rows()); err != nil || diff != "" {
		t.Errorf("after the removal (%v): %s", err, diff)
	}
	if api.Requests() != 3 {
		t.Errorf("%d requests, want one more for the removals and one for who entered", api.Requests())
	}
}

func TestMetaSplitsAtItsLimit(t *testing.T) {
	api := adtest.NewMeta(t)
	var operations []Operation
	for i := range 60 {
		var mails []string
		for j := range 200 {
			mails = append(mails, fmt.Sprintf("m%d-%d@example.com", i, j))
		}
		operations = append(operations, entering(fmt.Sprint(i), map[string][]string{"email": mails}, nil))
	}
	if _, err := metaTo(t, api, adtest.MetaToken).Deliver(context.Background(), Batch{Operations: operations}); err != nil {
		t.Fatal(err)
	}
	if len(api.Rows()) != 12_000 || api.Requests() != 2 {
		t.Errorf("%d rows in %d requests", len(api.Rows()), api.Requests())
	}
}

func TestMetaAnswers(t *testing.T) {
	answer := func(status int, header, body string) func(http.ResponseWriter, int) bool {
		return func(w http.ResponseWriter, _ int) bool {
			w.Header().Set("X-Business-Use-Case-Usage", header)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	graph := func(code, subcode int, message string) func(http.ResponseWriter, int) bool {
		return func(w http.ResponseWriter, _ int) bool {
			adtest.GraphError(w, http.StatusBadRequest, code, subcode, message)
			return true
		}
	}
	for _, c := range []struct {
		why, token, kind, says string
		refuse                 func(http.ResponseWriter, int) bool
		after                  time.Duration
	}{
		{why: "a token that has run out needs a person", token: "old", kind: "fatal", says: metaToken},
		{why: "a right that is missing", refuse: graph(200, 0, "Permissions error"), kind: "fatal", says: "ads_management"},
		{why: "an audience that is not there", refuse: graph(100, 33, "Object does not exist"), kind: "fatal", says: "audienceID"},
		{why: "an audience that Meta restricts", refuse: graph(100, 1713230, "Audience Upload Blocked"), kind: "fatal", says: "Audience Manager"},
		{why: "terms that nobody accepted", refuse: graph(100, 1870034, "Custom Audience Terms Not Accepted"), kind: "fatal", says: "accept"},
		{why: "a bad parameter is about a row, and the sender finds which", refuse: graph(100, 0, "Invalid parameter"), kind: "refused"},
		{why: "an address in a message is nobody's business", refuse: graph(100, 0, "bad ada@example.com"), kind: "refused", says: "bad …"},
		{why: "a limit of requests says in minutes how long it lasts", kind: "overloaded", after: 3 * time.Minute,
			refuse: answer(400, `{"1":[{"type":"custom_audience","estimated_time_to_regain_access":3}]}`, `{"error":{"code":80003,"message":"too many calls"}}`)},
		{why: "what is transient passes", refuse: answer(400, "", `{"error":{"code":2650,"is_transient":true,"message":"try again"}}`), kind: "unavailable"},
		{why: "its trouble passes", refuse: answer(503, "", ""), kind: "unavailable"},
		{why: "rows that it counts as invalid are not delivered", refuse: answer(200, "", `{"num_received":1,"num_invalid_entries":1}`), kind: "refused"},
		{why: "rows that it did not receive are not either", refuse: answer(200, "", `{"num_received":0,"num_invalid_entries":0}`), kind: "unavailable"},
		{why: "another server is not Meta", refuse: answer(200, "", `{}`), kind: "fatal", says: "spec.metaCustomAudience.url"},
	} {
		api := adtest.NewMeta(t)
		api.Refuse = c.refuse
		token := adtest.MetaToken
		if c.token != "" {
			token = c.token
		}
		_, err := metaTo(t, api, token).Deliver(context.Background(), Batch{Operations: []Operation{entering("a", map[string][]string{"email": {"ada@example.com"}}, nil)}})
		kind, after := kindOf(err)
		if kind != c.kind || after != c.after {
			t.Errorf("%s: %s after %s (%v), want %s after %s", c.why, kind, after, err, c.kind, c.after)
			continue
		}
		said := err.Error()
		var refused *RefusedError
		if errors.As(err, &refused) {
			said = refused.Message
		}
		if !strings.Contains(said, c.says) || strings.Contains(said, token) {
			t.Errorf("%s: %q should say %q", c.why, said, c.says)
		}
	}
}

func TestAdSpecs(t *testing.T) {
	if _, err := NewMeta(MetaConfig{URL: "https://graph.facebook.com/v25.0", Fields: []string{"first_name"}}); err == nil || !strings.Contains(err.Error(), `"first_name"; Meta knows [FN LN`) {
		t.Errorf("a field that Meta does not know: %v", err)
	}
	if _, err := NewGoogle(GoogleConfig{Google: googleOrder("https://x.test"), Fields: []string{"FN"}}); err == nil || !strings.Contains(err.Error(), "Google knows [givenName") {
		t.Errorf("a field that Google does not know: %v", err)
	}
	other := googleOrder("https://x.test")
	other.Account.Type = "Maps"
	if _, err := NewGoogle(GoogleConfig{Google: other}); err == nil || !strings.Contains(err.Error(), "GoogleAds") {
		t.Errorf("an account of no product: %v", err)
	}
}
