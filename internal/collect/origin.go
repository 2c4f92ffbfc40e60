package collect

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Origins are the sites whose pages may send events. The zero value lets every site: the write key is public by nature,
// and nothing here depends on cookies.
type Origins struct {
	exact    map[string]struct{}
	suffixes []wildcard
}

// wildcard is https://*.example.com: every name below example.com, not example.com itself.
type wildcard struct{ scheme, suffix string }

// ParseOrigins reads origins as browsers write them, https://shop.example.com, or with * for the first name of the host.
func ParseOrigins(list []string) (Origins, error) {
	var o Origins
	for _, text := range list {
		scheme, host, ok := strings.Cut(strings.ToLower(text), "://")
		if !ok || (scheme != "https" && scheme != "http") || host == "" || strings.ContainsAny(host, "/?# ") ||
			strings.Contains(strings.TrimPrefix(host, "*."), "*") {
			return Origins{}, fmt.Errorf("origin %q must be like https://shop.example.com or https://*.example.com, without a path", text)
		}
		if suffix, ok := strings.CutPrefix(host, "*"); ok {
			o.suffixes = append(o.suffixes, wildcard{scheme: scheme + "://", suffix: suffix})
			continue
		}
		if o.exact == nil {
			o.exact = map[string]struct{}{}
		}
		o.exact[scheme+"://"+host] = struct{}{}
	}
	return o, nil
}

// has says whether a page of this origin may send. Requests without one come from apps, servers and images.
func (o Origins) has(origin string) bool {
	if origin == "" || (len(o.exact) == 0 && len(o.suffixes) == 0) {
		return true
	}
	origin = strings.ToLower(origin)
	if _, ok := o.exact[origin]; ok {
		return true
	}
	for _, w := range o.suffixes {
		if rest, ok := strings.CutPrefix(origin, w.scheme); ok && len(rest) > len(w.suffix) && strings.HasSuffix(rest, w.suffix) {
			return true
		}
	}
	return false
}

// allow lets the script of a page read the answer, refusals too, and says whether it may send.
func (o Origins) allow(h http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if !o.has(origin) {
		return false
	}
	if origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Retry-After, X-RateLimit-Reset")
		h.Add("Vary", "Origin")
	}
	return true
}

// allowMethods answers a preflight request.
func allowMethods(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	headers := r.Header.Get("Access-Control-Request-Headers")
	if headers == "" || len(headers) > 1024 {
		headers = "Authorization, Content-Type, Content-Encoding, AnonymousId"
	}
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", strconv.Itoa(int((15 * time.Minute).Seconds())))
	w.WriteHeader(http.StatusNoContent)
}
