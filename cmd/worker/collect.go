package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"kohort.dev/kohort/internal/collect"
	"kohort.dev/kohort/internal/stream"
)

// collectFlags of the collector. Credentials are files of mounted Secrets.
type collectFlags struct {
	platform, source, party      string
	streamURL, streamCredentials string
	writeKeyFile                 string
	listen, healthListen         string
	trustedHops, maxConnections  int
	eventsPerSecond, burst       int
	maxBatchBytes                int
	allowedOrigins               []string
	clientIP                     string
	drainDelay, drainTimeout     time.Duration
}

func newCollectCommand() *cobra.Command {
	var f collectFlags
	command := &cobra.Command{
		Use:   "collect",
		Short: "Take events from SDKs over HTTP and acknowledge them once they are on the stream's disk",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("platform", f.platform, "source", f.source)
			return f.run(ctx, log)
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.platform, "platform", "", "name of the Platform that the events belong to")
	flags.StringVar(&f.source, "source", "", "name of the Source")
	flags.StringVar(&f.party, "party", "First", "whose data it is: First, Second or Third")
	flags.StringVar(&f.streamURL, "stream-url", "", "NATS server, nats://host:port")
	flags.StringVar(&f.streamCredentials, "stream-credentials-dir", "", "directory with the files username and password")
	flags.StringVar(&f.writeKeyFile, "write-key-file", "", "file that holds the source's write key")
	flags.StringVar(&f.listen, "listen", ":8080", "address that takes events")
	flags.StringVar(&f.healthListen, "health-listen", ":8081", "address of /healthz, /readyz and /metrics")
	flags.IntVar(&f.trustedHops, "trusted-hops", 0, "proxies in front that append to X-Forwarded-For; 0: that header is not looked at")
	flags.StringVar(&f.clientIP, "client-ip", string(collect.KeepIP), "what is kept of clients' addresses: Keep, Anonymize or Drop")
	flags.StringArrayVar(&f.allowedOrigins, "allowed-origin", nil, "site whose pages may send, https://shop.example.com or https://*.example.com; repeatable. Default: every site")
	flags.IntVar(&f.eventsPerSecond, "events-per-second", 0, "events that this collector takes in the long run; 0: no limit")
	flags.IntVar(&f.burst, "burst", 0, "events that may come at once; 0: those of a second")
	flags.IntVar(&f.maxBatchBytes, "max-batch-bytes", collect.DefaultMaxBatch, "size of a batch, unpacked")
	flags.IntVar(&f.maxConnections, "max-connections", 4096, "connections at once; each costs about 16 KiB")
	flags.DurationVar(&f.drainDelay, "drain-delay", 5*time.Second, "time that connections are still taken after /readyz failed")
	flags.DurationVar(&f.drainTimeout, "drain-timeout", 15*time.Second, "time to finish requests under way")
	return command
}

func (f *collectFlags) check() error {
	for _, required := range []struct{ name, value string }{
		{"source", f.source}, {"stream-url", f.streamURL}, {"write-key-file", f.writeKeyFile},
	} {
		if required.value == "" {
			return fmt.Errorf("flag --%s is required", required.name)
		}
	}
	if !slices.Contains([]string{"First", "Second", "Third"}, f.party) {
		return fmt.Errorf("flag --party is %q and must be First, Second or Third", f.party)
	}
	if f.trustedHops < 0 || f.maxConnections < 1 {
		return fmt.Errorf("flags --trusted-hops and --max-connections must not be negative, the latter not zero")
	}
	if f.eventsPerSecond < 0 || f.burst < 0 || (f.burst > 0 && f.eventsPerSecond == 0) {
		return fmt.Errorf("flags --events-per-second and --burst must not be negative, and --burst needs --events-per-second")
	}
	if f.maxBatchBytes < collect.SmallestMaxBatch || f.maxBatchBytes > collect.LargestMaxBatch {
		return fmt.Errorf("flag --max-batch-bytes is %d and must be %d to %d", f.maxBatchBytes, collect.SmallestMaxBatch, collect.LargestMaxBatch)
	}
	return nil
}

// handling is what the flags say of requests.
func (f *collectFlags) handling() (collect.HandlerOptions, error) {
	origins, err := collect.ParseOrigins(f.allowedOrigins)
	if err != nil {
		return collect.HandlerOptions{}, fmt.Errorf("flag --allowed-origin: %w", err)
	}
	ip, err := collect.ParseClientIP(f.clientIP)
	if err != nil {
		return collect.HandlerOptions{}, fmt.Errorf("flag --client-ip: %w", err)
	}
	options := collect.HandlerOptions{
		Source: f.source, Party: f.party, TrustedHops: f.trustedHops, ClientIP: ip, Origins: origins, MaxBatch: f.maxBatchBytes, Now: time.Now,
	}
	if f.eventsPerSecond > 0 {
		options.Rate = collect.NewRate(f.eventsPerSecond, cmp.Or(f.burst, f.eventsPerSecond))
	}
	return options, nil
}

func (f *collectFlags) run(ctx context.Context, log *slog.Logger) error {
	handling, err := f.handling()
	if err != nil {
		return err
	}
	key, err := collect.ReadKey(f.writeKeyFile)
	if err != nil {
		return err
	}
	var listening net.ListenConfig
	events, err := listening.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listening for events: %w", err)
	}
	defer func() { _ = events.Close() }()
	health, err := listening.Listen(ctx, "tcp", f.healthListen)
	if err != nil {
		return fmt.Errorf("listening for health checks: %w", err)
	}
	defer func() { _ = health.Close() }()

	// A stream that is away is no reason to end: requests are refused and /readyz says why until it is back.
	js, err := stream.Dial(f.streamURL, f.streamCredentials)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := collect.NewMetrics(registry)
	publisher := stream.NewPublisher(js, stream.Subject(f.source), stream.PublisherOptions{Observe: metrics.Commit})
	metrics.Watch(registry, publisher)

	following, stopFollowing := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { key.Follow(following, log) })
	handling.Key, handling.Log, handling.Metrics = key, publisher, metrics
	server := collect.Server{
		Handler: collect.NewHandler(handling), Ready: publisher.Ready, Gatherer: registry, MaxConnections: f.maxConnections,
		DrainDelay: f.drainDelay, DrainTimeout: f.drainTimeout, Logger: log,
	}
	log.Info("taking events", "listen", events.Addr().String())
	err = server.Serve(ctx, events, health)
	stopFollowing()
	background.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // requests are over: little waits
	defer cancel()
	publisher.Close(closing)
	return err
}
