package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/collect"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse"
)

// childVariable makes this test binary a collector or an engine's ingestion.
const childVariable = "KOHORT_SOAK_CHILD"

// child is what a process is to be.
type child struct {
	Name        string // collector or engine
	Stream      string // URL
	Warehouse   string // URL
	Credentials string // directory of the credentials of both
	Key         string // file of the write key
	Listen      string // address of the collector
}

func TestMain(m *testing.M) {
	order, ok := os.LookupEnv(childVariable)
	if !ok {
		os.Exit(m.Run())
	}
	var c child
	err := json.Unmarshal([]byte(order), &c)
	if err == nil {
		err = c.run()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// run serves until standard input ends, which it does with the test.
func (c child) run() error {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	js, err := stream.Dial(c.Stream, c.Credentials)
	if err != nil {
		return err
	}
	if c.Name == "engine" {
		fmt.Println("runs")
		conn, err := warehouse.Open(ctx, c.Warehouse, c.Credentials)
		for err != nil { // the kubelet would start it again
			time.Sleep(100 * time.Millisecond)
			conn, err = warehouse.Open(ctx, c.Warehouse, c.Credentials)
		}
		return ingest.New(ingest.Config{Conn: conn, JetStream: js, Rules: func() []identity.Rule {
			return []identity.Rule{{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "anonymousId", Limit: 20, Normalize: identity.Exact}}
		}}).Run(ctx)
	}
	key, err := collect.ReadKey(c.Key)
	if err != nil {
		return err
	}
	publisher := stream.NewPublisher(js, stream.Subject("web"), stream.PublisherOptions{})
	events, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	health, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	server := collect.Server{Ready: publisher.Ready, Gatherer: registry, MaxConnections: 1000, DrainTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
		Handler: collect.NewHandler(collect.HandlerOptions{Source: "web", Party: "First", Key: key, Log: publisher, Now: time.Now, Metrics: collect.NewMetrics(registry)})}
	fmt.Println("runs")
	return server.Serve(ctx, events, health)
}

// process is a child that can be killed and started again.
type process struct {
	child child
	cmd   *exec.Cmd
	stdin io.Closer
	log   *strings.Builder
}

// Start runs it and waits until it says so.
func (p *process) Start(t testing.TB) {
	t.Helper()
	order, err := json.Marshal(p.child)
	if err != nil {
		t.Fatal(err)
	}
	p.log = &strings.Builder{}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(order))
	p.cmd.Stderr = p.log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = p.cmd.Wait()
		t.Fatalf("the %s did not start: %s", p.child.Name, p.log)
	}
}

// Kill ends it as kill -9 does.
func (p *process) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // reports the kill
}
