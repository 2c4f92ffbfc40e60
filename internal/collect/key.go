package collect

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// rereadKey is how often the file is looked at; the kubelet takes about a minute to bring a changed Secret to a pod.
const rereadKey = 10 * time.Second

// Key is the write key of the source, read from the file of a mounted Secret.
type Key struct {
	path    string
	current atomic.Pointer[keyForms]
}

// keyForms holds a key as requests carry it.
type keyForms struct {
	plain  string
	header string // of Authorization, as most SDKs send it
}

// ReadKey reads the key in the file at path.
func ReadKey(path string) (*Key, error) {
	k := &Key{path: path}
	return k, k.read()
}

func (k *Key) read() error {
	content, err := os.ReadFile(k.path)
	if err != nil {
		return fmt.Errorf("reading the write key: %w", err)
	}
	plain := strings.TrimSpace(string(content))
	if plain == "" {
		return fmt.Errorf("reading the write key: file %s is empty", k.path)
	}
	k.current.Store(&keyForms{plain: plain, header: "Basic " + base64.StdEncoding.EncodeToString([]byte(plain+":"))})
	return nil
}

// Follow reads the file again and again until ctx ends, so that a rotated key is taken up. A file that cannot be read
// leaves the key as it is.
func (k *Key) Follow(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(rereadKey)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := k.read(); err != nil {
				log.Warn("keeping the write key that was read before", "error", err.Error())
			}
		case <-ctx.Done():
			return
		}
	}
}

// is says whether a request's key is this one, in a time that does not depend on where they differ.
func (k *Key) is(given string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(k.current.Load().plain)) == 1
}

// allows says whether a request carries the key: as the user of Basic authentication, else in the query, else in the
// body. The first that is there decides. Basic credentials without a colon come from old clients.
func (k *Key) allows(r *http.Request, inBody string) bool {
	if header := r.Header.Get("Authorization"); header != "" {
		if subtle.ConstantTimeCompare([]byte(header), []byte(k.current.Load().header)) == 1 {
			return true
		}
		if scheme, encoded, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Basic") {
			return k.is(basicUser(strings.TrimSpace(encoded)))
		} // a bearer token says nothing about the write key, which then is in the body
	}
	if r.URL.RawQuery != "" {
		if given := r.URL.Query().Get("writeKey"); given != "" {
			return k.is(given)
		}
	}
	return k.is(inBody)
}

func basicUser(encoded string) string {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		if decoded, err = base64.RawStdEncoding.DecodeString(encoded); err != nil {
			return ""
		}
	}
	user, _, _ := strings.Cut(string(decoded), ":")
	return user
}
