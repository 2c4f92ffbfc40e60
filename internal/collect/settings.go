package collect

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
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

// address is the IP of text, which may have a port; empty when it is none.
func address(text string) string {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}
