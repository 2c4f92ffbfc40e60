package source

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

// tolerance is how old or how far ahead a signed time may be, as Stripe and Standard Webhooks have it.
const tolerance = 5 * time.Minute

// verify says whether the sender of a request has the secret. now dates what signs a time.
func verify(order run.Hook, secret string, header http.Header, body []byte, now time.Time) bool {
	switch order.Verify {
	case run.VerifyHMAC:
		return verifyHMAC(order, secret, header, body)
	case run.VerifyStripe:
		return verifyStripe(secret, header.Get("Stripe-Signature"), body, now)
	case run.VerifyStandardWebhooks:
		return verifyStandard(secret, header, body, now)
	default:
		return verifyToken(secret, header)
	}
}

// verifyToken takes the secret as a bearer token, or as the password of Basic authentication.
func verifyToken(secret string, header http.Header) bool {
	scheme, given, _ := strings.Cut(header.Get("Authorization"), " ")
	given = strings.TrimSpace(given)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
	case strings.EqualFold(scheme, "Basic"):
		decoded, err := base64.StdEncoding.DecodeString(given)
		if err != nil {
			return false
		}
		_, given, _ = strings.Cut(string(decoded), ":")
	default:
		return false
	}
	wanted, got := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(wanted[:], got[:]) == 1
}

// verifyHMAC takes an HMAC-SHA256 of the body in a header, as GitHub, Shopify and many others send it.
func verifyHMAC(order run.Hook, secret string, header http.Header, body []byte) bool {
	text, ok := strings.CutPrefix(header.Get(order.Header), order.Prefix)
	if !ok {
		return false
	}
	decode := hex.DecodeString
	if order.Base64 {
		decode = base64.StdEncoding.DecodeString
	}
	given, err := decode(text)
	return err == nil && hmac.Equal(given, sign([]byte(secret), body))
}

// verifyStripe takes "t=<Unix seconds>,v1=<hex>", the HMAC of "<t>.<body>"; there may be several v1
// (https://docs.stripe.com/webhooks#verify-manually).
func verifyStripe(secret, header string, body []byte, now time.Time) bool {
	at, good := "", false
	var signatures []string
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "t":
			at = value
		case "v1":
			signatures = append(signatures, value)
		}
	}
	wanted := sign([]byte(secret), []byte(at), []byte("."), body)
	for _, text := range signatures {
		given, err := hex.DecodeString(text)
		good = err == nil && hmac.Equal(given, wanted) || good
	}
	return good && current(at, now)
}

// verifyStandard takes the headers webhook-id, webhook-timestamp and webhook-signature, which has one or more "v1,<base64>"
// of "<id>.<timestamp>.<body>" (https://www.standardwebhooks.com); Svix's own names of them count too.
func verifyStandard(secret string, header http.Header, body []byte, now time.Time) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	get := func(name string) string {
		if value := header.Get("Webhook-" + name); value != "" {
			return value
		}
		return header.Get("Svix-" + name)
	}
	at, good := get("Timestamp"), false
	wanted := sign(key, []byte(get("Id")), []byte("."), []byte(at), []byte("."), body)
	for text := range strings.FieldsSeq(get("Signature")) {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "v1,"))
		good = err == nil && hmac.Equal(given, wanted) || good
	}
	return good && current(at, now)
}

func current(seconds string, now time.Time) bool {
	at, err := strconv.ParseInt(seconds, 10, 64)
	return err == nil && now.Sub(time.Unix(at, 0)).Abs() <= tolerance
}

func sign(key []byte, parts ...[]byte) []byte {
	hash := hmac.New(sha256.New, key)
	for _, part := range parts {
		hash.Write(part)
	}
	return hash.Sum(nil)
}
