package source

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"kohort.dev/kohort/internal/run"
)

// The signatures of GitHub and of Standard Webhooks are those that their documentation gives; the others were made by
// another implementation of HMAC.
func TestVerify(t *testing.T) {
	at := time.Unix(1614265330, 0)
	github := run.Hook{Verify: run.VerifyHMAC, Header: "X-Hub-Signature-256", Prefix: "sha256="}
	shopify := run.Hook{Verify: run.VerifyHMAC, Header: "X-Shopify-Hmac-Sha256", Base64: true}
	stripe, standard, token := run.Hook{Verify: run.VerifyStripe}, run.Hook{Verify: run.VerifyStandardWebhooks}, run.Hook{Verify: run.VerifyToken}
	const (
		greeting       = "Hello, World!"
		githubKey      = "It's a Secret to Everybody"
		githubSign     = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
		standardKey    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		standardBody   = `{"test": 2432232314}`
		standardSign   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		stripeBody     = `{"id":"evt_1"}`
		stripeSign     = "e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa"
		shopifySign    = "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="
		stripeKey      = "whsec_test_secret"
		standardSecond = "1614265330"
	)
	headers := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	msg := func(signature, second string) http.Header {
		return headers("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", second, "webhook-signature", signature)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("any:hush"))
	for _, c := range []struct {
		why    string
		order  run.Hook
		secret string
		header http.Header
		body   string
		now    time.Time
		want   bool
	}{
		{"GitHub's", github, githubKey, headers("X-Hub-Signature-256", githubSign), greeting, at, true},
		{"another body", github, githubKey, headers("X-Hub-Signature-256", githubSign), greeting + " ", at, false},
		{"another secret", github, "x", headers("X-Hub-Signature-256", githubSign), greeting, at, false},
		{"without the prefix", github, githubKey, headers("X-Hub-Signature-256", githubSign[7:]), greeting, at, false},
		{"no header", github, githubKey, headers(), greeting, at, false},
		{"Shopify's", shopify, "hush", headers("X-Shopify-Hmac-Sha256", shopifySign), `{"id":1}`, at, true},
		{"no base64", shopify, "hush", headers("X-Shopify-Hmac-Sha256", "!"), `{"id":1}`, at, false},
		{"Stripe's", stripe, stripeKey, headers("Stripe-Signature", "t=1614265330,v1="+stripeSign), stripeBody, at.Add(4 * time.Minute), true},
		{"Stripe's, after a rotation", stripe, stripeKey, headers("Stripe-Signature", "t=1614265330,v1=00,v1="+stripeSign+",v0=x"), stripeBody, at, true},
		{"too late", stripe, stripeKey, headers("Stripe-Signature", "t=1614265330,v1="+stripeSign), stripeBody, at.Add(6 * time.Minute), false},
		{"another time", stripe, stripeKey, headers("Stripe-Signature", "t=1614265331,v1="+stripeSign), stripeBody, at, false},
		{"no time", stripe, stripeKey, headers("Stripe-Signature", "v1="+stripeSign), stripeBody, at, false},
		{"Standard Webhooks'", standard, standardKey, msg(standardSign, standardSecond), standardBody, at, true},
		{"several signatures", standard, standardKey, msg("v1,AAAA "+standardSign, standardSecond), standardBody, at, true},
		{"in Svix's names", standard, standardKey, headers("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "svix-timestamp", standardSecond, "svix-signature", standardSign), standardBody, at, true},
		{"from the future", standard, standardKey, msg(standardSign, standardSecond), standardBody, at.Add(-6 * time.Minute), false},
		{"a secret that is none", standard, "whsec_!", msg(standardSign, standardSecond), standardBody, at, false},
		{"a bearer token", token, "hush", headers("Authorization", "Bearer hush"), "", at, true},
		{"a password", token, "hush", headers("Authorization", basic), "", at, true},
		{"another token", token, "hush", headers("Authorization", "Bearer hus"), "", at, false},
		{"no token", token, "hush", headers(), "", at, false},
		{"an odd scheme", token, "hush", headers("Authorization", "Digest hush"), "", at, false},
	} {
		if got := verify(c.order, c.secret, c.header, []byte(c.body), c.now); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}
