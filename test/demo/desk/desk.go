// Package desk is what the demo's cluster can fetch over HTTP: the export of the support desk, which is made up when it is
// asked for, and files that somebody put there, such as the data sets of the end-to-end tests.
package desk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

// Limits of what is kept: the data sets have 2 MB together.
const (
	maxFile  = 32 << 20
	maxFiles = 32
)

// Export writes tickets as JSON Lines.
func Export(w io.Writer, tickets []population.Ticket) error {
	encoder := json.NewEncoder(w)
	for _, ticket := range tickets {
		if err := encoder.Encode(ticket); err != nil {
			return fmt.Errorf("exporting tickets: %w", err)
		}
	}
	return nil
}

// Handler serves
//
//	GET  /tickets.jsonl  the support desk's export
//	POST /files/{name}   keeps a file in memory; so does PUT
//	GET  /files/{name}   a kept file
//	GET  /healthz        200
func Handler(tickets []population.Ticket, started time.Time) (http.Handler, error) {
	var export bytes.Buffer
	if err := Export(&export, tickets); err != nil {
		return nil, err
	}
	s := &shelf{files: map[string][]byte{}, started: started}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tickets.jsonl", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "tickets.jsonl", started, bytes.NewReader(export.Bytes()))
	})
	mux.HandleFunc("GET /files/{name}", s.get)
	mux.HandleFunc("POST /files/{name}", s.put)
	mux.HandleFunc("PUT /files/{name}", s.put)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux, nil
}

// shelf keeps files.
type shelf struct {
	lock    sync.Mutex
	files   map[string][]byte
	started time.Time
}

func (s *shelf) put(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFile))
	if err != nil {
		http.Error(w, fmt.Sprintf("reading the file (at most %d bytes): %v", maxFile, err), http.StatusBadRequest)
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	name := r.PathValue("name")
	if _, known := s.files[name]; !known && len(s.files) >= maxFiles {
		http.Error(w, fmt.Sprintf("there are %d files already", maxFiles), http.StatusInsufficientStorage)
		return
	}
	s.files[name] = data
	w.WriteHeader(http.StatusNoContent)
}

func (s *shelf) get(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	s.lock.Lock()
	data, known := s.files[name]
	s.lock.Unlock()
	if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // a .gz stays packed: the reader unpacks it
	http.ServeContent(w, r, name, s.started, bytes.NewReader(data))
}
