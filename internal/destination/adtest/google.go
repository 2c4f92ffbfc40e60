package adtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Google is the Data Manager API's audience members, and where a service account gets its tokens:
// https://developers.google.com/data-manager/api/reference/rest/v1/audienceMembers/ingest
type Google struct {
	URL string
	Key string // of the one service account, as the Google Cloud console gives it

	mu     sync.Mutex
	sealed map[string]bool
	calls  []string
	// Refuse answers a request for members in its own way when it gives true. It is called under a lock.
	Refuse func(w http.ResponseWriter, request int) bool
}

const googleToken = "ya29.token"

// NewGoogle starts a Google that ends with the test.
func NewGoogle(t *testing.T) *Google {
	t.Helper()
	g := &Google{sealed: map[string]bool{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.URL = server.URL
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "client_email": "sync@shop.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": server.URL + "/token",
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	g.Key = string(key)
	return g
}

// Identifiers gives what the audience holds, sorted.
func (g *Google) Identifiers() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for id := range g.sealed {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Calls gives the bodies that came, each after its method.
func (g *Google) Calls() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// ServeHTTP gives tokens, and adds members or removes them.
func (g *Google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/token" {
		g.token(w, r)
		return
	}
	method, ok := strings.CutPrefix(r.URL.Path, "/v1/audienceMembers:")
	if !ok || r.Method != http.MethodPost || method != "ingest" && method != "remove" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var body googleBody
	raw := new(strings.Builder)
	if err := json.NewDecoder(teeReader(r, raw)).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.calls = append(g.calls, method+" "+raw.String())
	if g.Refuse != nil && g.Refuse(w, len(g.calls)) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+googleToken {
		GoogleError(w, http.StatusUnauthorized, "UNAUTHENTICATED")
		return
	}
	if violations := body.violations(method); len(violations) > 0 {
		GoogleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", violations...)
		return
	}
	for _, member := range body.Members {
		for _, id := range member.Composite.User.Identifiers {
			if method == "ingest" {
				g.sealed[id.text()] = true
			} else {
				delete(g.sealed, id.text())
			}
		}
	}
	_, _ = fmt.Fprint(w, `{"requestId":"a1b2"}`)
}

// token checks that the assertion is one of the service account's for the right scope; its signature is the library's
// affair.
func (g *Google) token(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.FormValue("assertion"), ".")
	var claims struct{ Iss, Scope string }
	if len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims)
	}
	if claims.Iss != "sync@shop.iam.gserviceaccount.com" || claims.Scope != "https://www.googleapis.com/auth/datamanager" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, googleToken)
}

// Violation is what Google says of one field.
type Violation struct{ Field, Reason, Description string }

// GoogleError answers as Google's APIs do.
func GoogleError(w http.ResponseWriter, status int, word string, violations ...Violation) {
	w.WriteHeader(status)
	var list []map[string]string
	for _, v := range violations {
		list = append(list, map[string]string{"field": v.Field, "reason": v.Reason, "description": v.Description})
	}
	details := []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "datamanager.googleapis.com"}}
	if len(list) > 0 {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": list})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "status": word, "message": "There was a problem with the request.", "details": details}})
}
