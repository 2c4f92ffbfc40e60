package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/engine"
)

const manifests = `
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: vip, namespace: crm}
spec:
  platformRef: {name: shop}
  criteria:
    - {name: bought, event: {name: Order Completed}}
    - {name: quiet, event: {name: Complained, count: {max: 0}}}
`

func TestPreview(t *testing.T) {
	audiences, err := audiencesIn("-", strings.NewReader(manifests))
	if err != nil || len(audiences) != 1 || audiences[0].Name != "vip" || len(audiences[0].Spec.Criteria) != 2 {
		t.Fatalf("read %+v, %v", audiences, err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var sent v1alpha1.Audience
		if err := json.Unmarshal(body, &sent); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/audiences/preview" || sent.Name != "vip" {
			t.Errorf("%s %s with %s, %v", r.Method, r.URL, body, err)
		}
		_ = json.NewEncoder(w).Encode(membership.Preview{
			Size: 120, Current: 100, Entered: 30, Left: 10, Took: 42, SQL: "SELECT 1", Sample: []string{"a", "b"},
			Criteria: []membership.CriterionSize{{Name: "bought", Size: new(uint64(300))}, {Name: "quiet"}},
		})
	}))
	defer server.Close()
	var out bytes.Buffer
	if err := previewOne(t.Context(), &out, endpoint{server.URL, "secret"}, audiences[0], "table", true); err != nil {
		t.Fatal(err)
	}
	want := `Audience vip would have 120 members; it has 100: 30 enter, 10 leave
  CRITERION   CUSTOMERS
  bought      300
  quiet       - (says what they are not)
Some of them: id:a, id:b
Computed in 42 ms; nothing was stored

SELECT 1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestAudiencesInAFile(t *testing.T) {
	for text, says := range map[string]string{
		"kind: ConfigMap\napiVersion: v1": "has no Audience",
		"{":                               "reading -",
		strings.Replace(manifests, "criteria:", "rules:", 1): `unknown field "rules"`,
	} {
		if _, err := audiencesIn("-", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: %v, want %q", text, err, says)
		}
	}
	if _, err := audiencesIn("/does/not/exist", nil); err == nil {
		t.Error("a file that is not there")
	}
	_, err := audiencesIn("-", strings.NewReader(""))
	var next *hinted
	if !errors.As(err, &next) {
		t.Errorf("an empty file: %v, want a hint", err)
	}
}

func TestAudienceExplanation(t *testing.T) {
	for want, e := range map[string]engine.AudienceExplanation{
		`The rule of vip holds for this customer now; a member since 2026-11-23 12:00:00
  CRITERION   HOLDS
  bought      yes
  quiet       no
Match: bought or quiet
`: {Audience: "vip", Explanation: &membership.Explanation{Holds: true, Stored: true, Since: &noon, Match: "bought or quiet",
			Criteria: []membership.CriterionAnswer{{Name: "bought", Holds: true}, {Name: "quiet"}}}},
		`The rule of vip holds for this customer now; no member until the next evaluation
  CRITERION   HOLDS
  bought      yes
`: {Audience: "vip", Explanation: &membership.Explanation{Holds: true, Criteria: []membership.CriterionAnswer{{Name: "bought", Holds: true}}}},
		`The rule of vip does not hold for this customer now; no member
  CRITERION   HOLDS
  bought      no
`: {Audience: "vip", Explanation: &membership.Explanation{Criteria: []membership.CriterionAnswer{{Name: "bought"}}}},
	} {
		answer, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showAudienceExplanation(&out, answer); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
	}
}
