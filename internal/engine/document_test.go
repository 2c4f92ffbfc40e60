package engine

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"kohort.dev/kohort/api/v1alpha1"
)

// description is the document as the engine serves it.
type description struct {
	root   map[string]any
	schema *jsonschema.Compiler
}

func describe(t *testing.T, p *place) description {
	t.Helper()
	status, body := p.get(p.config.Listen, documentPath, "")
	if status != http.StatusOK {
		t.Fatalf("the document: %d %s", status, body)
	}
	content, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	d := description{content.(map[string]any), jsonschema.NewCompiler()}
	d.schema.DefaultDraft(jsonschema.Draft2020) // which OpenAPI 3.1 takes its schemas from
	d.schema.AssertFormat()
	if err := d.schema.AddResource("doc.json", content); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows a path of keys, and references on the way.
func (d description) at(t *testing.T, keys ...string) (value map[string]any, pointer string) {
	t.Helper()
	value, pointer = d.root, ""
	for i := 0; i < len(keys); i++ {
		next, ok := value[keys[i]].(map[string]any)
		if !ok {
			t.Fatalf("the document has no %q below %s", keys[i], pointer)
		}
		value, pointer = next, pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(keys[i])
		if ref, is := value["$ref"].(string); is {
			value, pointer = d.at(t, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return value, pointer
}

// check holds an answer against what the document says of it.
func (d description) check(t *testing.T, method, path string, status int, body string) {
	t.Helper()
	_, pointer := d.at(t, "paths", path, strings.ToLower(method), "responses", strconv.Itoa(status), "content", "application/json", "schema")
	schema, err := d.schema.Compile("doc.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(answer); err != nil {
		t.Errorf("%s %s: %v\n%s", method, path, err, body)
	}
}

// documented asks for everything that there is, and holds routes and answers against the document.
func documented(t *testing.T, p *place) {
	d := describe(t, p)
	const preview = `{"metadata":{"name":"new"},"spec":{"platformRef":{"name":"` + platformName + `"},"criteria":[{"name":"did","event":{"name":"Order Completed"}}]}}`
	answered := map[string]bool{}
	for _, c := range []struct {
		route, path, body string
		status            int
	}{
		{"GET /v1/profiles/{identifier}", "/v1/profiles/userId:u1", "", 200},
		{"GET /v1/profiles/{identifier}", "/v1/profiles/userId:nobody", "", 404},
		{"GET /v1/profiles/{identifier}", "/v1/profiles/nothing", "", 400},
		{"GET /v1/profiles/{identifier}/traits", "/v1/profiles/userId:u1/traits", "", 200},
		{"GET /v1/profiles/{identifier}/identifiers", "/v1/profiles/userId:u1/identifiers", "", 200},
		{"GET /v1/profiles/{identifier}/audiences", "/v1/profiles/userId:u1/audiences", "", 200},
		{"GET /v1/profiles/{identifier}/events", "/v1/profiles/userId:u1/events?limit=1", "", 200},
		{"GET /v1/profiles/{identifier}/events", "/v1/profiles/userId:u1/events?cursor=x", "", 400},
		{"GET /v1/profiles/{identifier}/links", "/v1/profiles/userId:u1/links", "", 200},
		{"GET /v1/profiles/{identifier}/audiences/{audience}", "/v1/profiles/userId:u1/audiences/buyers", "", 200},
		{"GET /v1/profiles/{identifier}/audiences/{audience}", "/v1/profiles/userId:u1/audiences/none", "", 404},
		{"POST /v1/audiences/preview", "/v1/audiences/preview", preview, 200},
		{"POST /v1/audiences/preview", "/v1/audiences/preview", "{}", 400},
		{"GET /v1/accounts/{account}", "/v1/accounts/acme%2F1", "", 200},
		{"GET /v1/accounts/{account}", "/v1/accounts/none", "", 404},
		{"GET /v1/accounts/{account}/members", "/v1/accounts/acme%2F1/members?limit=1", "", 200},
		{"GET /v1/identity/explain", "/v1/identity/explain?from=userId:u1&to=email:ada@example.com", "", 200},
		{"GET /v1/identity/explain", "/v1/identity/explain?from=userId:u1&to=userId:nobody", "", 404},
		{"POST /v1/identity/unmerge", "/v1/identity/unmerge?identifier=email:ada@example.com&dryRun=true", "", 200},
		{"POST /v1/identity/unmerge", "/v1/identity/unmerge?identifier=userId:u9&dryRun=true", "", 409},
		{"GET /v1/violations", "/v1/violations", "", 200},
		{"GET /v1/quarantine", "/v1/quarantine?limit=2", "", 200},
		{"GET /v1/quarantine/summary", "/v1/quarantine/summary", "", 200},
		{"POST /v1/quarantine/redrive", "/v1/quarantine/redrive?source=none", "", 200},
		{"POST /v1/quarantine/redrive", "/v1/quarantine/redrive?cursor=x", "", 400},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		status, body := send(t, method, "http://"+p.config.Listen+c.path, apiToken, c.body)
		if status != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", method, c.path, status, c.status, body)
			continue
		}
		d.check(t, method, path, status, body)
		answered[c.route] = answered[c.route] || status == http.StatusOK
		status, body = send(t, method, "http://"+p.config.Listen+c.path, "wrong", c.body)
		d.check(t, method, path, status, body)
	}
	var routes, described []string
	for _, r := range (&api{}).routes() {
		routes = append(routes, r.pattern)
		if !answered[r.pattern] {
			t.Errorf("%s was not asked for", r.pattern)
		}
		method, path, _ := strings.Cut(r.pattern, " ")
		operation, _ := d.at(t, "paths", path, strings.ToLower(method))
		var scopes []v1alpha1.APIScope
		for _, s := range operation["security"].([]any)[0].(map[string]any)["key"].([]any) {
			scopes = append(scopes, v1alpha1.APIScope(s.(string)))
		}
		if diff := cmp.Diff(r.scopes, scopes); diff != "" {
			t.Errorf("scopes of %s (-route +document):\n%s", r.pattern, diff)
		}
	}
	for path, methods := range d.root["paths"].(map[string]any) {
		for method := range methods.(map[string]any) {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	routes = append(routes, "GET "+documentPath)
	slices.Sort(routes)
	slices.Sort(described)
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("paths (-routes +document):\n%s", diff)
	}
}

func send(t *testing.T, method, url, token, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// keys gives out two keys and takes one back.
func keys(t *testing.T, p *place) {
	secret := func(name, text string) {
		if err := os.WriteFile(filepath.Join(p.config.APIKeysDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret("website", "pages\n")
	secret("empty", "")
	secret("unlisted", "unlisted")
	ref := v1alpha1.SecretKeyReference{Name: "keys", Key: "any"}
	edit(p, &v1alpha1.Platform{}, platformName, func(o *v1alpha1.Platform) {
		o.Spec.Engine.Keys = []v1alpha1.APIKey{
			{Name: "website", Scopes: []v1alpha1.APIScope{v1alpha1.ScopeAudiences}, SecretRef: ref},
			{Name: "empty", Scopes: anyScope, SecretRef: ref}, {Name: "missing", Scopes: anyScope, SecretRef: ref},
			{Name: "support", Scopes: []v1alpha1.APIScope{v1alpha1.ScopeProfiles, v1alpha1.ScopeQuarantine}, SecretRef: ref},
		}
	})
	const audiences, whole, quarantine, explain = "/v1/profiles/userId:u1/audiences", "/v1/profiles/userId:u1", "/v1/quarantine", "/v1/identity/explain?from=userId:u1&to=email:ada@example.com"
	p.eventually("the key is known", 10e9, func() error {
		if status, body := p.get(p.config.Listen, audiences, "pages"); status != http.StatusOK {
			return refusal{status, "", body}
		}
		return nil
	})
	check := func(path, token string, want int, says string) {
		t.Helper()
		if status, body := p.get(p.config.Listen, path, token); status != want || !strings.Contains(body, says) {
			t.Errorf("%s with %q: %d %s, want %d", path, token, status, body, want)
		}
	}
	check(whole, "pages", 403, "key website does not open this: it needs scope Profiles")
	check(quarantine, "pages", 403, `"code":"OutOfScope"`)
	check("/v2", "pages", 404, documentPath)
	check(audiences, "", 401, "")
	check(audiences, "unlisted", 401, "")
	check(audiences, "support", 401, "")
	secret("support", "tickets") // its Secret has come
	check(audiences, "tickets", 200, "")
	check(whole, "tickets", 200, "")
	check(quarantine, "tickets", 200, "")
	check(explain, "tickets", 403, "it needs scope Identity")
	check(explain, apiToken, 200, "")
	secret("website", "rotated")
	check(audiences, "pages", 401, "")
	check(audiences, "rotated", 200, "")
}
