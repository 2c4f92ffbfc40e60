package engine

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// One who has an answer is told so, and gets another as soon as a byte of it has changed.
func TestRespondOnce(t *testing.T) {
	send := func(body string, tags ...string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		for _, tag := range tags {
			r.Header.Add("If-None-Match", tag)
		}
		if status := respondOnce(w, r, []byte(body)); status != w.Code {
			t.Errorf("says %d and sends %d", status, w.Code)
		}
		return w
	}
	first := send("a")
	tag := first.Header().Get("ETag")
	if first.Code != http.StatusOK || first.Body.String() != "a" || first.Header().Get("Cache-Control") != "private, no-cache" {
		t.Errorf("%d %q %v", first.Code, first.Body, first.Header())
	}
	for _, tags := range [][]string{{tag}, {"W/" + tag}, {`"x", ` + tag}, {`"x"`, tag}, {"*"}} {
		if w := send("a", tags...); w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
			t.Errorf("%q gave %d %q", tags, w.Code, w.Body)
		}
	}
	for _, tags := range [][]string{{""}, {`"x"`}, {tag + "x"}} {
		if w := send("a", tags...); w.Code != http.StatusOK {
			t.Errorf("%q gave %d", tags, w.Code)
		}
	}
	if w := send("b", tag); w.Code != http.StatusOK || w.Body.String() != "b" || w.Header().Get("ETag") == tag {
		t.Errorf("another answer gave %d %q", w.Code, w.Body)
	}
}
