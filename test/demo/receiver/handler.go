package receiver

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
)

// maxBody is the largest request in bytes: 500 operations of some 2 KiB, with room to spare.
const maxBody = 8 << 20

// Handler serves a ledger:
//
//	POST /audiences         a batch, with the token from tokenFile as "Authorization: Bearer"
//	GET  /audiences         members of each audience, counted
//	GET  /audiences/{name}  one audience
//	GET  /healthz           200
//
// Reading needs no token: the demo's data is made up, and people should be able to look.
func Handler(l *Ledger, tokenFile string, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /audiences", func(w http.ResponseWriter, r *http.Request) {
		take(w, r, l, tokenFile, log)
	})
	mux.HandleFunc("GET /audiences", func(w http.ResponseWriter, _ *http.Request) { show(w, l.Counts()) })
	mux.HandleFunc("GET /audiences/{name}", func(w http.ResponseWriter, r *http.Request) { show(w, l.Show(r.PathValue("name"))) })
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

func take(w http.ResponseWriter, r *http.Request, l *Ledger, tokenFile string, log *slog.Logger) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		log.Error("the token cannot be read", "file", tokenFile, "error", err)
		http.Error(w, "the receiver has no token", http.StatusServiceUnavailable)
		return
	}
	got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(got), bytes.TrimSpace(token)) != 1 {
		http.Error(w, "wrong token: send the one in the destination's tokenSecretRef", http.StatusUnauthorized)
		return
	}
	var batch Batch
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&batch); err != nil {
		http.Error(w, fmt.Sprintf("the body is not a batch: %v", err), http.StatusBadRequest)
		return
	}
	if err := batch.Validate(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := l.Take(r.Header.Get("Idempotency-Key"), batch); err != nil {
		log.Error("a batch was not kept", "audience", batch.Audience, "error", err)
		http.Error(w, "the batch could not be kept", http.StatusServiceUnavailable)
		return
	}
	log.Info("took a batch", "audience", batch.Audience, "run", batch.Run, "operations", len(batch.Operations))
	w.WriteHeader(http.StatusNoContent)
}

func show(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is a reader who went away.
	_ = json.NewEncoder(w).Encode(value)
}
