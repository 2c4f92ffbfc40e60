package collect

import (
	"encoding/json"
	"net/http"
)

// answerSettings gives an SDK what it fetches before it starts: where to send events, and that all of them may be sent.
// The host is the one that the SDK asked, for the collector does not know its public name.
func answerSettings(w http.ResponseWriter, r *http.Request, key string, behindProxy bool) {
	protocol := "http"
	if r.TLS != nil || (behindProxy && r.Header.Get("X-Forwarded-Proto") == "https") {
		protocol = "https"
	}
	enabled := map[string]any{"__default": map[string]any{"enabled": true, "integrations": map[string]any{}}}
	body := map[string]any{
		"integrations": map[string]any{"Segment.io": map[string]any{
			"apiKey": key, "apiHost": r.Host + "/v1", "protocol": protocol, "unbundledIntegrations": []string{},
			"addBundledMetadata": false, "versionSettings": map[string]any{},
		}},
		"plan":               map[string]any{"track": enabled, "identify": enabled, "group": enabled},
		"edgeFunction":       map[string]any{},
		"middlewareSettings": map[string]any{},
		"enabledMiddleware":  map[string]any{},
		"remotePlugins":      []any{},
		"metrics":            map[string]any{"sampleRate": 0}, // SDKs else report about themselves to their vendor
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Cache-Control", "private, max-age=60")
	_ = json.NewEncoder(w).Encode(body)
}

// answerSourceConfig is the same for RudderStack's SDKs, which ask before they start. No destination is served from
// within the SDK: all of them are the platform's.
func answerSourceConfig(w http.ResponseWriter, source string, key *Key) {
	quiet := map[string]any{"enabled": false}
	body := map[string]any{"source": map[string]any{
		"id": source, "name": source, "writeKey": key.current.Load().plain, "enabled": true,
		"config":       map[string]any{"statsCollection": map[string]any{"errors": quiet, "metrics": quiet}},
		"destinations": []any{}, "connections": []any{},
	}}
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Cache-Control", "private, max-age=60")
	_ = json.NewEncoder(w).Encode(body)
}
