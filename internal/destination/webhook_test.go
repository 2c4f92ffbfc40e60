package destination

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/run"
)

const secret = "s3cr3t-t0ken"

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func webhook(t *testing.T, url, tokenFile string) *Webhook {
	t.Helper()
	w, err := NewWebhook(WebhookConfig{URL: url, TokenFile: tokenFile, Audience: "vip", Sync: "vip-mailer", Run: "1795437000"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

var two = Batch{Key: "vip-mailer/1795437000/ab", Operations: []Operation{
	{Op: OpRemove, ID: "11111111-1111-5111-8111-111111111111", Identifiers: map[string][]string{"email": {"ada@example.com"}}},
	{Op: OpUpsert, ID: "22222222-2222-5222-8222-222222222222", Identifiers: map[string][]string{"email": {"alan@example.com"}, "userId": {"u2"}},
		Traits: map[string]json.RawMessage{"plan": []byte(`"pro"`), "city": []byte("null")}},
}}

func TestWebhookRequest(t *testing.T) {
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
	}))
	defer server.Close()
	token := file(t, secret+"\n")
	w := webhook(t, server.URL+"/in", token)
	results, err := w.Deliver(context.Background(), two)
	if err != nil || !cmp.Equal(results, make([]Result, 2)) {
		t.Fatalf("an empty answer gives %v, %v", results, err)
	}
	want := `{"audience":"vip","sync":"vip-mailer","run":"1795437000","operations":[` +
		`{"op":"remove","id":"11111111-1111-5111-8111-111111111111","identifiers":{"email":["ada@example.com"]}},` +
		`{"op":"upsert","id":"22222222-2222-5222-8222-222222222222","identifiers":{"email":["alan@example.com"],"userId":["u2"]},"traits":{"city":null,"plan":"pro"}}]}`
	if body != want {
		t.Errorf("body\n%s\nwant\n%s", body, want)
	}
	for header, value := range map[string]string{
		"Authorization": "Bearer " + secret, "Idempotency-Key": two.Key, "Content-Type": "application/json",
	} {
		if got.Header.Get(header) != value {
			t.Errorf("header %s is %q, want %q", header, got.Header.Get(header), value)
		}
	}
	if got.Method != http.MethodPost || got.URL.Path != "/in" {
		t.Errorf("request %s %s", got.Method, got.URL.Path)
	}
	if err := os.WriteFile(token, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Deliver(context.Background(), two); err != nil || got.Header.Get("Authorization") != "Bearer rotated" {
		t.Errorf("after a rotation of the Secret the header is %q (%v)", got.Header.Get("Authorization"), err)
	}
}

func TestWebhookAnswers(t *testing.T) {
	for _, c := range []struct {
		name, why string
		status    int
		header    map[string]string
		body      string
		rejected  []Result // of two operations; nil: an error
		kind      string   // of the error: unavailable, overloaded, refused, fatal
		after     time.Duration
		says      string
	}{
		{name: "rejected", why: "rows are rejected by id, and messages carry nothing of the row", status: 200,
			body:     `{"rejected":[{"id":"22222222-2222-5222-8222-222222222222","reason":"InvalidEmail","message":"alan@example.com bounces, call +49 170 1234567"}]}`,
			rejected: []Result{{}, {Rejected: true, Reason: "InvalidEmail", Message: "… bounces, call …"}}},
		{name: "upper case", why: "some write UUIDs in capitals", status: 200, body: `{"rejected":[{"id":"11111111-1111-5111-8111-111111111111","reason":"a b c"}]}`,
			rejected: []Result{{Rejected: true, Reason: "Rejected"}, {}}},
		{name: "ok", why: "a receiver may say ok in its own words", status: 201, body: "ok", rejected: []Result{{}, {}}},
		{name: "other json", why: "a receiver may answer more than is asked", status: 202, body: `{"accepted":2}`, rejected: []Result{{}, {}}},
		{name: "unknown id", why: "a rejection that cannot be placed must not be lost", status: 200, body: `{"rejected":[{"id":"x"}]}`, kind: "fatal", says: "not in the request"},
		{name: "other shape", why: "what looks like rejections and cannot be read must not count as acceptance", status: 200, body: `{"rejected":{"id":"x"}}`, kind: "fatal", says: "not of the form"},
		{name: "page", why: "a login page is no acceptance", status: 200, header: map[string]string{"Content-Type": "text/html"}, body: "<html>please log in", kind: "fatal", says: "spec.webhook.url"},
		{name: "endless", why: "an answer is bounded", status: 200, body: strings.Repeat(" ", maxAnswer+1), kind: "fatal", says: "more than"},
		{name: "429", why: "asked to slow down, for as long as it says", status: 429, header: map[string]string{"Retry-After": "7"}, kind: "overloaded", after: 7 * time.Second},
		{name: "503 date", why: "a date counts from the receiver's own clock", status: 503, kind: "unavailable", after: 90 * time.Second,
			header: map[string]string{"Retry-After": "Mon, 23 Nov 2026 12:01:30 GMT", "Date": "Mon, 23 Nov 2026 12:00:00 GMT"}},
		{name: "408", why: "a timeout passes", status: 408, kind: "unavailable"},
		{name: "425", why: "too early passes", status: 425, kind: "unavailable"},
		{name: "500", why: "a fault of the receiver may pass", status: 500, kind: "unavailable", says: "500 Internal Server Error"},
		{name: "401", why: "a refused token needs a person", status: 401, kind: "fatal", says: "spec.webhook.tokenSecretRef"},
		{name: "403", why: "so does a missing right", status: 403, kind: "fatal", says: "spec.webhook.tokenSecretRef"},
		{name: "404", why: "a wrong path is not the rows' fault: they would be remembered as rejected", status: 404, kind: "fatal", says: "spec.webhook.url"},
		{name: "405", why: "nor is a path that takes no POST", status: 405, kind: "fatal", says: "spec.webhook.url"},
		{name: "304", why: "a redirect without a place to go is no acceptance", status: 304, kind: "fatal", says: "final address"},
		{name: "400", why: "a refusal that names no row is narrowed down by the caller", status: 400, body: `{"message":"ada@example.com"}`, kind: "refused"},
		{name: "413", why: "so is a body that is too large", status: 413, kind: "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			results, err := webhook(t, server.URL, file(t, secret)).Deliver(context.Background(), two)
			if c.rejected != nil {
				if diff := cmp.Diff(c.rejected, results); diff != "" || err != nil {
					t.Fatalf("%s: %v (-want +got):\n%s", c.why, err, diff)
				}
				return
			}
			kind, after := kindOf(err)
			if kind != c.kind || after != c.after {
				t.Fatalf("%s: %s after %s (%v), want %s after %s", c.why, kind, after, err, c.kind, c.after)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %q does not say %q", c.why, err, c.says)
			}
			for _, never := range []string{secret, "ada@", "alan@"} {
				if strings.Contains(err.Error(), never) {
					t.Errorf("the error shows %s: %v", never, err)
				}
			}
		})
	}
}

// kindOf names the kind of an error of Deliver.
func kindOf(err error) (string, time.Duration) {
	var unavailable *UnavailableError
	var refused *RefusedError
	var failure *run.Failure
	switch {
	case errors.As(err, &unavailable) && unavailable.Overloaded:
		return "overloaded", unavailable.After
	case errors.As(err, &unavailable) && unavailable.Unconnected:
		return "unconnected", 0
	case errors.As(err, &unavailable):
		return "unavailable", unavailable.After
	case errors.As(err, &refused):
		return "refused", 0
	case errors.As(err, &failure) && failure.Fatal:
		return "fatal", 0
	case err == nil:
		return "none", 0
	}
	return "other", 0
}

func TestWebhookSingleRefusalKeepsItsMessage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"message":"no consent for ada@example.com"}`)
	}))
	defer server.Close()
	_, err := webhook(t, server.URL, "").Deliver(context.Background(), Batch{Operations: two.Operations[:1]})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Reason != "HTTP422" || refused.Message != "the receiver answered 422 Unprocessable Entity: no consent for …" {
		t.Errorf("a refusal of one row is %#v", err)
	}
}

func TestWebhookRedirects(t *testing.T) {
	posted := 0
	final := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.Method == http.MethodPost && len(body) > 0 && r.Header.Get("Authorization") != "" {
			posted++
		}
	})
	elsewhere := httptest.NewServer(final)
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.Handle("/final", final)
	mux.HandleFunc("/same", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/final", http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/final", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, c := range []struct {
		path, kind, why string
		posted          int
	}{
		{"/same", "none", "a receiver that moved within its host gets the batch", 1},
		{"/get", "fatal", "a redirect that turns POST into GET would drop the batch and look like success", 0},
		{"/away", "fatal", "members are not sent to a host that nobody named", 0},
		{"/loop", "fatal", "a loop ends", 0},
	} {
		posted = 0
		_, err := webhook(t, server.URL+c.path, file(t, secret)).Deliver(context.Background(), two)
		if kind, _ := kindOf(err); kind != c.kind || posted != c.posted {
			t.Errorf("%s: %s (%v), posted %d times", c.why, kind, err, posted)
		}
	}
}

func TestWebhookThatDoesNotAnswer(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-hang
		}
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	defer close(hang)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	const query = "?key=" + secret
	for _, c := range []struct {
		url, kind, why string
		ctx            context.Context
	}{
		{server.URL + "/abort" + query, "unavailable", "a connection that breaks may have carried the batch", context.Background()},
		{server.URL + "/hang" + query, "unavailable", "so may one that is too slow", ctx},
		{"http://127.0.0.1:1/" + query, "unconnected", "nothing listens: a smaller batch does not help", context.Background()},
		{"http://receiver.invalid/" + query, "unconnected", "nor does it if the name is unknown", context.Background()},
	} {
		_, err := webhook(t, c.url, "").Deliver(c.ctx, two)
		if kind, _ := kindOf(err); kind != c.kind {
			t.Errorf("%s: %s (%v), want %s", c.why, kind, err, c.kind)
		}
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the URL's query: %v", err)
		}
	}
}

func TestWebhookConfigurations(t *testing.T) {
	for _, url := range []string{"", "ftp://host/x", "https:///path", "://", "https://user:" + secret + "@host/"} {
		_, err := NewWebhook(WebhookConfig{URL: url})
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != ReasonInvalidSpec || strings.Contains(err.Error(), secret) {
			t.Errorf("URL %q gives %v", url, err)
		}
	}
	for why, path := range map[string]string{
		"a missing file": filepath.Join(t.TempDir(), "none"), "an empty one": file(t, "\n"), "two lines": file(t, secret+"\nx"),
		"a file that is no token": file(t, strings.Repeat("x", maxSecret+1)),
	} {
		_, err := webhook(t, "http://127.0.0.1:1", path).Deliver(context.Background(), two)
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != ReasonSecretNotFound || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), path) {
			t.Errorf("%s gives %v", why, err)
		}
	}
}

func TestScrub(t *testing.T) {
	op := Operation{ID: "22222222-2222-5222-8222-222222222222", Identifiers: map[string][]string{"userId": {"u-77"}, "email": {"a@b.de"}},
		Traits: map[string]json.RawMessage{"name": []byte(`"Ada Lovelace"`), "age": []byte("36"), "x": []byte(`"a"`)}}
	for _, c := range []struct{ why, in, want string }{
		{"values of the row go", "user u-77 (Ada Lovelace) is unknown", "user … (…) is unknown"},
		{"addresses of others go too", "merged with bob+x@mail.example.com", "merged with …"},
		{"numbers that may be a person's go", "phone 0170 123 4567 is invalid", "phone … is invalid"},
		{"short numbers stay", "code 4711 in field 12", "code 4711 in field 12"},
		{"lines are joined", "a\n\tb\r\nc", "a b c"},
	} {
		if got := scrub(c.in, op); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
	long := scrub(strings.Repeat("é", 10_000)+"\xff", op)
	if len(long) > maxMessage || !strings.HasSuffix(long, "é…") {
		t.Errorf("a long message has %d bytes and ends in %q", len(long), long[len(long)-8:])
	}
}
