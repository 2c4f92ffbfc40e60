package destination

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// The headers of a signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// signingField names the keys in messages.
const signingField = "spec.webhook.signingKeySecretRefs"

// The bytes of a signing key, as the specification bounds them.
const minKey, maxKey = 24, 64

// sign signs a body as Standard Webhooks does: with each key, so that a receiver that knows the old or the new one finds
// a signature that it can check. The id is the same whenever the same batch is sent again; the time is that of the try.
func (w *Webhook) sign(header http.Header, key string, body []byte) error {
	if len(w.config.KeyFiles) == 0 {
		return nil
	}
	id := messageID(key)
	timestamp := strconv.FormatInt(w.config.Now().Unix(), 10)
	signatures := make([]string, len(w.config.KeyFiles))
	for i, path := range w.config.KeyFiles {
		secret, err := readSigningKey(path)
		if err != nil {
			return err
		}
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte(id + "." + timestamp + ".")) // a hash takes everything
		_, _ = mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	header.Set(headerID, id)
	header.Set(headerTimestamp, timestamp)
	header.Set(headerSignature, strings.Join(signatures, " "))
	return nil
}

// messageID makes an id without dots, which part the signed text, out of a batch's key, which may hold some.
func messageID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// readSigningKey reads a key in base64, with or without the prefix whsec_.
func readSigningKey(path string) ([]byte, error) {
	text, err := readSecret(path, signingField)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, run.Refuse(ReasonInvalidSpec,
			`a Secret key that %s names is no signing key: it must be %d to %d bytes in base64; make one with printf 'whsec_%%s' "$(openssl rand -base64 32)"`,
			signingField, minKey, maxKey)
	}
	return key, nil
}
