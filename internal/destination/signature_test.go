package destination

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/internal/run"
)

const (
	oldKey = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // the example of the Standard Webhooks libraries
	newKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// signedBy says whether a receiver that knows one key finds a signature of it, as the specification has it checked.
func signedBy(key string, header http.Header, body string) bool {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "." + body))
	for _, one := range strings.Fields(header.Get("webhook-signature")) {
		version, signature, _ := strings.Cut(one, ",")
		got, err := base64.StdEncoding.DecodeString(signature)
		if err == nil && version == "v1" && hmac.Equal(got, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

func TestWebhookSignature(t *testing.T) {
	var header http.Header
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		header, body = r.Header, string(text)
	}))
	defer server.Close()
	now := time.Unix(1795437000, 0)
	first, second := file(t, oldKey+"\n"), file(t, newKey)
	w, err := NewWebhook(WebhookConfig{URL: server.URL, KeyFiles: []string{first, second}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func() {
		t.Helper()
		if _, err := w.Deliver(context.Background(), two); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	id := header.Get("webhook-id")
	if strings.Contains(id, ".") || header.Get("webhook-timestamp") != "1795437000" {
		t.Errorf("id %q at %q", id, header.Get("webhook-timestamp"))
	}
	if !signedBy(oldKey, header, body) || !signedBy(newKey, header, body) {
		t.Error("while a key is replaced, receivers that know the old one and those that know the new one must both be served")
	}
	if signedBy(oldKey, header, body+" ") || signedBy("whsec_"+base64.StdEncoding.EncodeToString([]byte("another key of 24 bytes!")), header, body) {
		t.Error("a signature holds for another body or another key")
	}
	now = now.Add(time.Minute)
	deliver()
	if header.Get("webhook-id") != id || header.Get("webhook-timestamp") != "1795437060" || !signedBy(oldKey, header, body) {
		t.Error("a second try has the id of the first and its own time: receivers refuse old ones")
	}
	if err := os.WriteFile(first, []byte(newKey), 0o600); err != nil {
		t.Fatal(err)
	}
	if deliver(); signedBy(oldKey, header, body) {
		t.Error("a rotated Secret takes effect without a restart")
	}
	for why, text := range map[string]string{"not base64": "p@ssword", "too short": base64.StdEncoding.EncodeToString([]byte("short")),
		"too long": base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		if err := os.WriteFile(second, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := w.Deliver(context.Background(), two)
		var failure *run.Failure
		if !errors.As(err, &failure) || !failure.Fatal || !strings.Contains(err.Error(), signingField) || strings.Contains(err.Error(), text) {
			t.Errorf("a key that is %s gives %v", why, err)
		}
	}
}

// The vector that the specification's libraries test themselves with:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/go/webhook_test.go
func TestSignatureOfTheSpecification(t *testing.T) {
	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	if !signedBy(oldKey, header, `{"test": 2432232314}`) {
		t.Error("the check of these tests is not the specification's")
	}
}
