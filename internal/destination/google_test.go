package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/destination/adtest"
	"kohort.dev/kohort/internal/run"
)

func googleOrder(url string) run.Google {
	return run.Google{URL: url, Account: run.GoogleAccount{Type: "GoogleAds", ID: "1234567890"}, Audience: "987", AdUserData: true}
}

func googleTo(t *testing.T, api *adtest.Google, key string, fields ...string) *Google {
	t.Helper()
	order := googleOrder(api.URL)
	order.Login = &run.GoogleAccount{Type: "GoogleAds", ID: "55"}
	g, err := NewGoogle(GoogleConfig{Google: order, KeyFile: file(t, key), Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func TestGoogleMembers(t *testing.T) {
	api := adtest.NewGoogle(t)
	g := googleTo(t, api, api.Key, "givenName", "familyName", "regionCode", "postalCode")
	address := map[string]json.RawMessage{"givenName": []byte(`"Ada"`), "familyName": []byte(`"Lovelace"`), "regionCode": []byte(`"gb"`), "postalCode": []byte(`"SW1Y 4JH"`)}
	part := map[string]json.RawMessage{"givenName": []byte(`"Alan"`), "familyName": []byte(`"Turing"`), "regionCode": []byte(`"gb"`), "postalCode": []byte("null")}
	results, err := g.Deliver(context.Background(), Batch{Operations: []Operation{
		entering("a", map[string][]string{"email": {"A.da+x@gmail.com"}, "phone": {"+1 800-555-0100"}}, address),
		entering("b", map[string][]string{"email": {"alan@example.com"}, "phone": {"+0000000000"}}, part),
		entering("c", map[string][]string{"userId": {"u3"}}, address),
	}})
	if err != nil || results[0].Rejected || results[1].Rejected || results[2].Reason != "NoIdentifier" {
		t.Fatalf("%+v, %v", results, err)
	}
	want := []string{
		"address=" + hashOf("ada") + "," + hashOf("lovelace") + ",GB,SW1Y 4JH",
		"email=" + hashOf("ada@gmail.com"), "email=" + hashOf("alan@example.com"), "phone=" + hashOf("+18005550100"),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, api.Identifiers()); diff != "" {
		t.Errorf("the audience holds: %s", diff)
	}
	call := api.Calls()[0]
	for _, part := range []string{
		`"destinations":[{"operatingAccount":{"accountType":"GOOGLE_ADS","accountId":"1234567890"},"loginAccount":{"accountType":"GOOGLE_ADS","accountId":"55"},"productDestinationId":"987"}]`,
		`"consent":{"adUserData":"CONSENT_GRANTED","adPersonalization":"CONSENT_DENIED"}`, `"encoding":"HEX"`, `"termsOfService":{"customerMatchTermsOfServiceStatus":"ACCEPTED"}`,
	} {
		if !strings.Contains(call, part) {
			t.Errorf("the request lacks %s: %s", part, call)
		}
	}
	_, err = g.Deliver(context.Background(), Batch{Operations: []Operation{
		{Op: OpRemove, ID: "b", Identifiers: map[string][]string{"email": {"alan@example.com"}}},
	}})
	if err != nil || slices.Contains(api.Identifiers(), "email="+hashOf("alan@example.com")) {
		t.Errorf("after the removal (%v): %q", err, api.Identifiers())
	}
	if call := api.Calls()[1]; !strings.HasPrefix(call, "remove ") || strings.Contains(call, "consent") || strings.Contains(call, "termsOfService") {
		t.Errorf("a removal needs no consent: %s", call)
	}
}

func TestGoogleManyIdentifiers(t *testing.T) {
	api := adtest.NewGoogle(t)
	var mails []string
	for i := range 25 {
		mails = append(mails, fmt.Sprintf("m%d@example.com", i))
	}
	if _, err := googleTo(t, api, api.Key).Deliver(context.Background(), Batch{Operations: []Operation{entering("a", map[string][]string{"email": mails}, nil)}}); err != nil {
		t.Fatal(err)
	}
	if got := len(api.Identifiers()); got != 25 {
		t.Errorf("%d identifiers of 25: a member has at most 10, so there have to be three", got)
	}
}

// Google names the members that it refuses a request for: they are rejected, and all others delivered.
func TestGoogleRefusesMembers(t *testing.T) {
	api := adtest.NewGoogle(t)
	api.Refuse = func(w http.ResponseWriter, request int) bool {
		if request > 1 {
			return false
		}
		adtest.GoogleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", adtest.Violation{
			Field: "audience_members[1].composite_data.user_data.user_identifiers[0]", Reason: "INVALID_SHA256_FORMAT", Description: "bob@example.com is wrong",
		})
		return true
	}
	var operations []Operation
	for _, name := range []string{"ada", "bob", "cy"} {
		operations = append(operations, entering(name, map[string][]string{"email": {name + "@example.com"}}, nil))
	}
	results, err := googleTo(t, api, api.Key).Deliver(context.Background(), Batch{Operations: operations})
	want := []Result{{}, {Rejected: true, Reason: "InvalidSha256Format", Message: "… is wrong"}, {}}
	if diff := cmp.Diff(want, results); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	if got := api.Identifiers(); len(got) != 2 {
		t.Errorf("the audience holds %q", got)
	}
}

func TestGoogleAnswers(t *testing.T) {
	answer := func(status int, word string, violations ...adtest.Violation) func(http.ResponseWriter, int) bool {
		return func(w http.ResponseWriter, _ int) bool {
			adtest.GoogleError(w, status, word, violations...)
			return true
		}
	}
	for _, c := range []struct {
		why, key, kind, says string
		refuse               func(http.ResponseWriter, int) bool
	}{
		{why: "no right to the account", refuse: answer(403, "PERMISSION_DENIED"), kind: "fatal", says: googleCredentials},
		{why: "an account that is not there", refuse: answer(400, "INVALID_ARGUMENT", adtest.Violation{Field: "destinations[0].operating_account", Reason: "INVALID_DESTINATION"}), kind: "fatal", says: "destinations[0]"},
		{why: "a refusal without a field is about a row, and the sender finds which", refuse: answer(400, "INVALID_ARGUMENT"), kind: "refused"},
		{why: "another upload to the same audience passes", refuse: answer(409, "ABORTED"), kind: "unavailable"},
		{why: "too many requests", refuse: answer(429, "RESOURCE_EXHAUSTED"), kind: "overloaded"},
		{why: "its trouble passes", refuse: answer(500, "INTERNAL"), kind: "unavailable"},
		{why: "another server is not Google", kind: "fatal", says: "spec.googleCustomerMatch.url", refuse: func(w http.ResponseWriter, _ int) bool {
			_, _ = io.WriteString(w, "{}")
			return true
		}},
		{why: "a key that is none", key: "not json", kind: "fatal", says: "service account"},
		{why: "a key of a person", key: `{"type":"authorized_user"}`, kind: "fatal", says: "service account"},
		{why: "a service account that was deleted", key: "deleted", kind: "fatal", says: "no token"},
	} {
		api := adtest.NewGoogle(t)
		api.Refuse = c.refuse
		key := api.Key
		switch c.key {
		case "":
		case "deleted":
			key = strings.Replace(key, "sync@shop", "gone@shop", 1)
		default:
			key = c.key
		}
		_, err := googleTo(t, api, key).Deliver(context.Background(), Batch{Operations: []Operation{entering("a", map[string][]string{"email": {"ada@example.com"}}, nil)}})
		if kind, _ := kindOf(err); kind != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s (%v), want %s with %q", c.why, kind, err, c.kind, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the error shows the key: %v", c.why, err)
		}
	}
}
