package collect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	storejetstream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
)

// What a collector must reach on 2 cores that it shares with its stream and those who send.
const (
	goalBatched = 150_000 // events/s, batches of 20, 64 clients
	goalSingle  = 30_000  // events/s, one to a request, 256 clients
	goalP99     = 20      // ms
	goalRSS     = 150     // MiB
)

// figureVariable makes this test binary a collector in a process of its own, as its pod is one.
const figureVariable = "KOHORT_COLLECT_FIGURE_CHILD"

// figureChild is what it is told.
type figureChild struct{ URL, Credentials, Key, Profile string }

func init() {
	order, ok := os.LookupEnv(figureVariable)
	if !ok {
		return
	}
	if err := beCollector(order); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beCollector serves until standard input ends, with everything on that the product has: keys, rates, sites, metrics.
func beCollector(order string) error {
	var child figureChild
	if err := json.Unmarshal([]byte(order), &child); err != nil {
		return err
	}
	js, err := stream.Connect(context.Background(), child.URL, child.Credentials)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	key, err := ReadKey(child.Key)
	if err != nil {
		return err
	}
	origins, err := ParseOrigins([]string{"https://shop.example.com"})
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	publisher := stream.NewPublisher(js, stream.Subject("web"), stream.PublisherOptions{Observe: metrics.Commit})
	defer publisher.Close(context.Background())
	for publisher.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if child.Profile != "" {
		file, err := os.Create(child.Profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Println(listeners[0].Addr())
	server := Server{Ready: publisher.Ready, Gatherer: registry, MaxConnections: 4096, DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Handler: NewHandler(HandlerOptions{Source: "web", Party: "First", Key: key, Log: publisher, Now: time.Now, Metrics: metrics,
			Rate: NewRate(10_000_000, 10_000_000), Origins: origins, ClientIP: AnonymizeIP})}
	return server.Serve(ctx, listeners[0], listeners[1])
}

// BenchmarkFigureCollector measures the events a second that are acknowledged after a synced write, beside what a bare
// file and a bare stream take of the same bytes on the same disk in the same run. Collector, stream and clients are
// processes of their own and share the machine. With KOHORT_PROFILE
// set to a path, its CPU profiles are written there, with -20 for batches and -1 for single events at their end.
func BenchmarkFigureCollector(b *testing.B) {
	if asked := os.Getenv("KOHORT_FIGURE"); asked != "" && asked != "collector" {
		b.Skipf("%s is measured", asked)
	}
	for b.Loop() {
		file := rawLog(b, 100_000)
		b.ReportMetric(file, "raw-file-events/s")
		bare := rawStream(b, 100_000)
		b.ReportMetric(bare, "raw-stream-events/s")
		batched := measure(b, 64, 20, 600_000)
		batched.report(b, "batch")
		figure("collector", batched.rate, "events/s", goalBatched, batched.rate >= goalBatched)
		figure("collector-p99", batched.p99, "ms", goalP99, batched.p99 <= goalP99)
		figure("collector-rss", batched.rss, "MiB", goalRSS, batched.rss <= goalRSS)
		figure("collector-of-raw-file", 100*batched.rate/file, "% of the bare file's events/s", 50, batched.rate >= file/2)
		figure("collector-of-raw-stream", 100*batched.rate/bare, "% of the bare stream's events/s", 50, batched.rate >= bare/2)
		single := measure(b, 256, 0, 100_000)
		single.report(b, "single")
		figure("collector-single", single.rate, "events/s", goalSingle, single.rate >= goalSingle)
	}
	b.ReportMetric(0, "ns/op") // of no meaning with many clients
}

// run is how a load went.
type run struct {
	rate, p50, p99, rss     float64 // events/s, ms, ms, MiB of the collector at its most
	collector, stream, send float64 // µs of processor time for an event
}

func (r run) report(b *testing.B, name string) {
	b.ReportMetric(r.rate, name+"-events/s")
	b.ReportMetric(r.p50, name+"-p50-ms")
	b.ReportMetric(r.p99, name+"-p99-ms")
	// What is left of a figure on a machine that is busy with other things.
	b.ReportMetric(r.collector, name+"-collector-cpu-µs/event")
	b.ReportMetric(r.stream, name+"-stream-cpu-µs/event")
	b.ReportMetric(r.send, name+"-clients-cpu-µs/event")
}

// measure is a closed loop: each client sends a request on its own connection, waits for the answer, and sends the next.
func measure(b *testing.B, clients, size, events int) run {
	b.Helper()
	store := storetest.StartStream(b, storejetstream.Config{})
	dir := b.TempDir()
	write(b, dir+"/username", storetest.User)
	write(b, dir+"/password", storetest.Password)
	write(b, dir+"/key", "test-key")
	profile := os.Getenv("KOHORT_PROFILE")
	if profile != "" {
		profile += "-" + strconv.Itoa(max(size, 1))
	}
	order, err := json.Marshal(figureChild{URL: store.URL, Credentials: dir, Key: dir + "/key", Profile: profile})
	if err != nil {
		b.Fatal(err)
	}
	collector := exec.Command(os.Args[0])
	collector.Env = append(os.Environ(), figureVariable+"="+string(order), "GOMEMLIMIT=230MiB", "GOGC=400") // as in its pod
	collector.Stderr = os.Stderr
	stop, err := collector.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := collector.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := collector.Start(); err != nil {
		b.Fatal(err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	pid := collector.Process.Pid
	drive(b, strings.TrimSpace(address), clients, size, events/20) // warm up
	own, its, mine := cpu(b, pid), cpu(b, store.Pid()), cpu(b, os.Getpid())
	start := time.Now()
	times := drive(b, strings.TrimSpace(address), clients, size, events)
	took := time.Since(start)
	sent := float64(len(times) * max(size, 1))
	per := func(of int, before time.Duration) float64 { return (cpu(b, of) - before).Seconds() * 1e6 / sent }
	r := run{rate: sent / took.Seconds(), p50: milliseconds(times, 50), p99: milliseconds(times, 99),
		rss: peak(b, pid), collector: per(pid, own), stream: per(store.Pid(), its), send: per(os.Getpid(), mine)}
	if err := errors.Join(stop.Close(), collector.Wait()); err != nil {
		b.Error(err)
	}
	store.Stop(b)
	return r
}

// drive sends events and gives the times of the requests, sorted.
func drive(b *testing.B, address string, clients, size, events int) []time.Duration {
	b.Helper()
	requests, wanted := templates(size), int64(events/max(size, 1))
	var next atomic.Int64
	times := make([][]time.Duration, clients)
	var sending sync.WaitGroup
	for i := range clients {
		sending.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			answers := bufio.NewReader(conn)
			for n := next.Add(1); n <= wanted; n = next.Add(1) {
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
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) != int(wanted) {
		b.Fatalf("%d of %d requests were answered", len(all), wanted)
	}
	return all
}

func milliseconds(sorted []time.Duration, percent int) float64 {
	return float64(sorted[len(sorted)*percent/100].Microseconds()) / 1000
}

// group is the bytes of about 400 events as the collector writes them at once under load.
func group() (bytes []byte, events int) {
	for i := range uint64(20) {
		bytes = append(bytes, batchBody(20, 20*i)...)
	}
	return bytes, 400
}

// rawLog writes events to a file and syncs it after each group: the least that an acknowledgement needs.
func rawLog(b *testing.B, events int) float64 {
	b.Helper()
	file, err := os.Create(b.TempDir() + "/log")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	bytes, size := group()
	start := time.Now()
	for range events / size {
		if _, err := file.Write(bytes); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return float64(events) / time.Since(start).Seconds()
}

// rawStream publishes the same bytes from as many publishers as the collector has committers.
func rawStream(b *testing.B, events int) float64 {
	b.Helper()
	store := storetest.StartStream(b, storejetstream.Config{})
	defer store.Stop(b)
	dir := b.TempDir()
	write(b, dir+"/username", storetest.User)
	write(b, dir+"/password", storetest.Password)
	js, err := stream.Connect(b.Context(), store.URL, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer js.Conn().Close()
	if err := stream.EnsureStream(b.Context(), js, 0); err != nil {
		b.Fatal(err)
	}
	bytes, size := group()
	var left atomic.Int64
	left.Store(int64(events / size))
	var publishing sync.WaitGroup
	start := time.Now()
	for range 3 {
		publishing.Go(func() {
			for left.Add(-1) >= 0 {
				if err := publishOne(b.Context(), js, bytes); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	publishing.Wait()
	return float64(events) / time.Since(start).Seconds()
}

func publishOne(ctx context.Context, js jetstream.JetStream, bytes []byte) error {
	_, err := js.Publish(ctx, stream.Subject("web"), bytes)
	return err
}

// cpu is the processor time that a process has used, in clock ticks of 10 ms (proc(5), fields 14 and 15 of stat).
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peak is the most memory that a process had, in MiB.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		b.Fatal("the process says nothing of its memory")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

func figure(name string, value float64, unit string, goal float64, met bool) {
	verdict := "short"
	if met {
		verdict = "ok"
	}
	fmt.Printf("%s %.1f %s goal %.0f %s\n", name, value, unit, goal, verdict)
}
