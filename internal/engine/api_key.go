package engine

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kohort.dev/kohort/api/v1alpha1"
)

// anyScope is of what every key opens.
var anyScope = []v1alpha1.APIScope{
	v1alpha1.ScopeAudiences, v1alpha1.ScopeProfiles, v1alpha1.ScopeIdentity, v1alpha1.ScopePreview, v1alpha1.ScopeQuarantine,
}

// opens says whether the sender may have what any of scopes opens, and answers those who may not. Files are read for each
// request, so that a rotated Secret counts at once.
func (a *api) opens(w http.ResponseWriter, r *http.Request, scopes []v1alpha1.APIScope) bool {
	token, err := readToken(a.tokenFile)
	if err != nil {
		a.logger.Warn("refusing a request", "error", err.Error())
		refuse(w, http.StatusServiceUnavailable, "TokenUnreadable", "the engine cannot read its token; look at its log")
		return false
	}
	if bears(r, token) {
		return true
	}
	platform, err := a.objects.get(r.Context())
	if err != nil || platform == nil || a.keysDir == "" {
		unauthorized(w)
		return false
	}
	held := "" // the key that was sent
	for _, key := range platform.Spec.Engine.Keys {
		token, err := readToken(filepath.Join(a.keysDir, key.Name))
		if err != nil || !bears(r, token) { // a Secret may not be there yet
			continue
		}
		if slices.ContainsFunc(scopes, func(s v1alpha1.APIScope) bool { return slices.Contains(key.Scopes, s) }) {
			return true
		}
		held = key.Name
	}
	if held == "" {
		unauthorized(w)
		return false
	}
	refuse(w, http.StatusForbidden, "OutOfScope", fmt.Sprintf("key %s does not open this: it needs scope %s in the Platform's spec.engine.keys", held, either(scopes)))
	return false
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="kohort"`)
	refuse(w, http.StatusUnauthorized, "Unauthorized", "send the header Authorization: Bearer with a key of the Platform's spec.engine.keys, or the token of its Secret <platform>-api")
}

func either(scopes []v1alpha1.APIScope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, " or ")
}

// bears compares the token of a request in constant time.
func bears(r *http.Request, token string) bool {
	sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	wanted, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(sent))
	return ok && subtle.ConstantTimeCompare(wanted[:], got[:]) == 1
}

func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the API token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("reading the API token: file %s is empty", path)
	}
	return token, nil
}
