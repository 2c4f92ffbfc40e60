package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"kohort.dev/kohort/internal/collect"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/source"
	"kohort.dev/kohort/internal/stream"
)

// listenFlags of a listener. Credentials are files of mounted Secrets; what to read is the order in the environment.
type listenFlags struct {
	streamURL, streamCredentials string
	secrets                      []string
	listen, healthListen         string
	terminationLog               string
}

func newListenCommand() *cobra.Command {
	var f listenFlags
	command := &cobra.Command{
		Use:   "listen",
		Short: "Read messages for as long as it runs and publish what they hold as events",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return finish(f.terminationLog, run.Report{}, f.run(command.Context()))
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.streamURL, "stream-url", "", "NATS server, nats://host:port")
	flags.StringVar(&f.streamCredentials, "stream-credentials-dir", "", "directory with the files username and password")
	flags.StringArrayVar(&f.secrets, "secret", nil, "NAME=file of a secret that the order names; repeatable")
	flags.StringVar(&f.listen, "listen", ":8080", "address that a webhook takes requests at")
	flags.StringVar(&f.healthListen, "health-listen", ":8081", "address of /healthz, /readyz and /metrics")
	flags.StringVar(&f.terminationLog, "termination-log", run.TerminationPath, "file that the report is written to")
	if err := command.MarkFlagRequired("stream-url"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

func (f *listenFlags) run(ctx context.Context) error {
	order, err := run.ReadOrder[run.ListenOrder]()
	if err != nil {
		return run.Refuse("RunFailed", "%w", err)
	}
	secrets, err := secretFiles(f.secrets)
	if err != nil {
		return err
	}
	log := slog.Default().With("platform", order.Platform, "source", order.Source)
	// A stream that is away is no reason to end: nothing is acknowledged until it is back, and /readyz says why.
	js, err := stream.Dial(f.streamURL, f.streamCredentials)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	publisher := stream.NewPublisher(js, stream.Subject(order.Source), stream.PublisherOptions{})
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		publisher.Close(closing)
	}()
	registry := prometheus.NewRegistry()
	if order.Webhook != nil {
		return f.hook(ctx, order, secrets, publisher, registry, log)
	}
	listener, err := source.NewListener(source.ListenOptions{
		Order: order, Secrets: secrets, Log: publisher, Logger: log, Metrics: source.NewListenMetrics(registry), Now: time.Now,
	})
	if err != nil {
		return err
	}
	ready := func() error {
		if err := publisher.Ready(); err != nil {
			return err
		}
		if !listener.Ready() {
			return errors.New("not connected to what the Source reads from")
		}
		return nil
	}
	stop, err := serveHealth(ctx, f.healthListen, registry, ready)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("listening")
	// A secret that is replaced is taken up by starting anew: the container runs again at once.
	ctx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go secrets.watch(ctx, stopWatching)
	return listener.Run(ctx)
}

// hook takes requests until ctx ends, and then leaves without cutting anybody off.
func (f *listenFlags) hook(ctx context.Context, order run.ListenOrder, secrets files, publisher *stream.Publisher, registry *prometheus.Registry, log *slog.Logger) error {
	hook, err := source.NewWebhook(source.WebhookOptions{Order: order, Secrets: secrets, Log: publisher, Logger: log, Registerer: registry, Now: time.Now})
	if err != nil {
		return err
	}
	var config net.ListenConfig
	requests, err := config.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listening for requests: %w", err)
	}
	health, err := config.Listen(ctx, "tcp", f.healthListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listening for health checks: %w", err), requests.Close())
	}
	log.Info("taking requests", "address", requests.Addr().String())
	server := collect.Server{
		Handler: hook, Ready: publisher.Ready, Gatherer: registry, MaxConnections: 1024,
		DrainDelay: 5 * time.Second, DrainTimeout: 15 * time.Second, Logger: log,
	}
	return server.Serve(ctx, requests, health)
}

// serveHealth answers probes and scrapes until it is stopped.
func serveHealth(ctx context.Context, address string, registry *prometheus.Registry, ready func() error) (stop func(), _ error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for health checks: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() { _ = server.Close() }, nil
}

// files are secrets by name.
type files map[string]string

func secretFiles(pairs []string) (files, error) {
	out := files{}
	for _, pair := range pairs {
		name, path, ok := strings.Cut(pair, "=")
		if !ok || name == "" || path == "" {
			return nil, fmt.Errorf("flag --secret is %q and must be NAME=file", pair)
		}
		out[name] = path
	}
	return out, nil
}

// rotationInterval is how often files are looked at. Kubernetes brings a changed Secret within about a minute.
const rotationInterval = 20 * time.Second

// watch calls changed once a secret is another than at first.
func (f files) watch(ctx context.Context, changed func()) {
	first := f.contents()
	ticker := time.NewTicker(rotationInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if now := f.contents(); len(now) == len(first) && !maps.Equal(first, now) {
				slog.Info("a secret has changed; starting anew")
				changed()
				return
			}
		}
	}
}

func (f files) contents() map[string]string {
	out := map[string]string{}
	for name, path := range f {
		content, err := os.ReadFile(path)
		if err == nil { // a Secret that is taken away for a moment is no reason to stop
			out[name] = string(content)
		}
	}
	return out
}

// File is where a secret stands.
func (f files) File(name string) (string, error) {
	path, ok := f[name]
	if !ok {
		return "", run.Refuse("InvalidSpec", "the Source has no secret %s; add it to secretRefs", name)
	}
	return path, nil
}

// Value is what a secret holds, without the line break that editors leave at its end.
func (f files) Value(name string) (string, error) {
	path, err := f.File(name)
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(path)
	if err != nil || len(content) == 0 {
		return "", run.Refuse("SecretNotFound", "the Secret's key for %s is missing or empty; create it", name)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}
