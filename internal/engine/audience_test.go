package engine

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// previews is a part of TestEngine, after "buyers" has members u1, u2 and others.
func previews(t *testing.T, p *place) {
	post := func(body string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.config.Listen+"/v1/audiences/preview", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+apiToken)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	spec := func(criteria string) string {
		return `{"apiVersion":"kohort.dev/v1alpha1","kind":"Audience","metadata":{"name":"buyers"},"spec":{"platformRef":{"name":"shop"},"criteria":[` + criteria + `]}}`
	}
	for _, c := range []struct {
		why, body string
		status    int
		says      []string
	}{
		{"an edit of an audience", spec(`{"name":"did","event":{"name":"Order Completed"}},{"name":"not","event":{"name":"Refunded","count":{"max":0}}}`), 200,
			[]string{`"size":`, `"current":`, `"criteria":[{"name":"did","size":`, `{"name":"not","size":null}`, `"sql":"SELECT`, `"sample":["`}},
		{"nobody", spec(`{"name":"did","event":{"name":"Never"}}`), 200, []string{`"size":0`, `"entered":0`, `"criteria":[{"name":"did","size":0}]`, `"sample":[]`}},
		{"one that asks for another", spec(`{"name":"in","audience":{"name":"later"}}`), 200, []string{`"size":`}},
		{"a rule that cannot be", spec(`{"name":"not","event":{"name":"E","count":{"max":0}}}`), 400, []string{`"code":"InvalidSpec"`, "spec.criteria"}},
		{"a missing audience", spec(`{"name":"in","audience":{"name":"none"}}`), 400, []string{`"code":"AudienceNotFound"`, "spec.criteria[in].audience.name"}},
		{"another Platform's", strings.Replace(spec(`{"name":"did","event":{"name":"E"}}`), `"shop"`, `"other"`, 1), 400, []string{"spec.platformRef.name"}},
		{"no JSON", `{`, 400, []string{`"code":"BadAudience"`}},
		{"a field that is not there", spec(`{"name":"did","evnt":{}}`), 400, []string{`unknown field \"evnt\"`}},
		{"without a name", `{"spec":{}}`, 400, []string{"metadata.name"}},
		{"without end", `{"metadata":{"name":"` + strings.Repeat("x", longestAudience) + `"}}`, 400, []string{"at most"}},
	} {
		status, body := post(c.body)
		if status != c.status {
			t.Errorf("%s: status %d, %.300s", c.why, status, body)
		}
		for _, part := range c.says {
			if !strings.Contains(body, part) {
				t.Errorf("%s: %s is not in %.500s", c.why, part, body)
			}
		}
	}
	for path, want := range map[string]string{
		"/v1/profiles/userId:u1/audiences/buyers":     `"audience":"buyers","holds":true,"stored":true,"since":"`,
		"/v1/profiles/userId:u1/audiences/none":       `"code":"AudienceNotFound"`,
		"/v1/profiles/userId:u1/audiences/foreign":    `"code":"AudienceNotFound"`,
		"/v1/profiles/userId:nobody/audiences/buyers": `"code":"ProfileNotFound"`,
		"/v1/profiles/userId:u1/audiences/negative":   `"code":"InvalidSpec"`,
	} {
		if _, body := p.get(p.config.Listen, path, apiToken); !strings.Contains(body, want) {
			t.Errorf("%s gives %s, want %s", path, body, want)
		}
	}
}
