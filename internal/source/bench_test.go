package source

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rowsOf gives a CSV file of any size without holding it.
type rowsOf struct {
	total, next int
	rest        []byte
}

func (r *rowsOf) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.next > r.total {
			return 0, io.EOF
		}
		r.rest = fmt.Appendf(nil, "u%d,u%d@example.com,%d\n", r.next, r.next, r.next%100)
		if r.next == 0 {
			r.rest = []byte("id,email,visits\n")
		}
		r.next++
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// The memory of a run must not grow with its source. The stream's server, in the same process, is counted too.
func TestPullHoldsNoFileInMemory(t *testing.T) {
	b := newBench(t)
	const rows = 300_000
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, &rowsOf{total: rows})
	}))
	defer server.Close()
	var most atomic.Uint64
	stop := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			most.Store(max(most.Load(), stats.HeapInuse))
			select {
			case <-time.After(50 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	start := time.Now()
	report := b.pull(t, csvOrder(server.URL, customers))
	took := time.Since(start)
	close(stop)
	<-watching
	if report.Published != rows {
		t.Errorf("got %+v", report)
	}
	const limit = 128 << 20
	t.Logf("%d records in %s, %.0f/s, at most %d MiB of heap", rows, took.Round(time.Millisecond), rows/took.Seconds(), most.Load()>>20)
	if most.Load() > limit {
		t.Errorf("the heap grew to %d MiB; at most %d are expected", most.Load()>>20, limit>>20)
	}
}

func BenchmarkCSV(b *testing.B) {
	const rows = 1000
	var file strings.Builder
	if _, err := io.Copy(&file, &rowsOf{total: rows}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		var records []record
		if err := readCSV(b.Context(), strings.NewReader(file.String()), collectRecords(&records)); err != nil || len(records) != rows {
			b.Fatal(err, len(records))
		}
	}
}
