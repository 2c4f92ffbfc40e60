package collect

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/stream"
)

// BenchmarkCollector is a closed loop: each client sends a request on its own connection, waits for the answer, which
// means that the stream has synced it, and sends the next. Server, stream and clients share the machine. The metrics
// are events/s and the 50th and 99th percentile of a request's time.
//
//	go test ./internal/collect -run '^$' -bench Collector -benchtime 5s
func BenchmarkCollector(b *testing.B) {
	cases := []struct {
		name          string
		clients, size int // size 0: single events at /v1/track
	}{
		{"batch20/clients=16", 16, 20},
		{"batch20/clients=64", 64, 20},
		{"batch20/clients=256", 256, 20},
		{"single/clients=64", 64, 0},
		{"single/clients=256", 256, 0},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) { benchmark(b, c.clients, c.size) })
	}
}

func benchmark(b *testing.B, clients, size int) {
	c := newCollector(b, stream.PublisherOptions{}, func(o *HandlerOptions) { o.Now = time.Now })
	c.Close() // its handler moves to the server that the product runs
	listener, health := listen(b), listen(b)
	ctx, stop := context.WithCancel(context.Background())
	server := Server{
		Handler: c.Config.Handler, Ready: c.publisher.Ready, Gatherer: prometheus.NewRegistry(), MaxConnections: 10_000,
		DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, health) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()

	requests := templates(size)
	var next atomic.Int64
	times := make([][]time.Duration, clients)
	var sending sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for i := range clients {
		sending.Go(func() {
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			answers := bufio.NewReader(conn)
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				began := time.Now()
				if err := exchange(conn, answers, requests[n%int64(len(requests))]); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	sending.Wait()
	took := time.Since(start)
	b.StopTimer()
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) == 0 {
		return
	}
	b.ReportMetric(float64(len(all)*max(size, 1))/took.Seconds(), "events/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op") // of no meaning with many clients
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// templates are ready requests; made before the clock starts, for the generator shares the machine with the collector.
func templates(size int) [][]byte {
	requests := make([][]byte, 32)
	for i := range requests {
		path, body := "/v1/track", []byte(event(uint64(i)))
		if size > 0 {
			path, body = "/v1/batch", batchBody(size, uint64(i*size))
		}
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: collector\r\nUser-Agent: load\r\nContent-Type: application/json\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
			path, basic("test-key:"), len(body), body)
	}
	return requests
}

// exchange sends a request and reads its answer, which must be 200. It reads no more of it than it must, for the
// generator shares the machine with the collector.
func exchange(conn net.Conn, answers *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	good := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	length := 0
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if size, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(size)); err != nil {
				return err
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(answers, body); err != nil {
		return err
	}
	if !good || !bytes.Equal(body, success) {
		return fmt.Errorf("answer: %s", body)
	}
	return nil
}
