package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/stream"
)

// Config says whose engine this is and where everything else is.
type Config struct {
	Namespace, Platform string

	// WarehouseURL is http://host:port, StreamURL nats://host:port. The directories hold the files username and password.
	WarehouseURL, WarehouseCredentials string
	StreamURL, StreamCredentials       string

	// APITokenFile holds the token that readers of profiles must send.
	APITokenFile string
	// APIKeysDir has a file for each of the Platform's spec.engine.keys; empty when there are none.
	APIKeysDir string
	// Listen is the address of the profile API, HealthListen that of /healthz, /readyz and /metrics.
	Listen, HealthListen string

	// Kubernetes is how the API server is reached.
	Kubernetes *rest.Config
	Logger     *slog.Logger
	Now        func() time.Time
}

// Run is the engine until ctx ends or its lease is lost; losing the lease is an error, for another process leads then.
func Run(ctx context.Context, cfg Config) error {
	// Fail on what no waiting can mend before anything is started.
	if _, err := readToken(cfg.APITokenFile); err != nil {
		return err
	}
	js, err := stream.Dial(cfg.StreamURL, cfg.StreamCredentials)
	if err != nil {
		return err
	}
	defer js.Conn().Close()

	ctrl.SetLogger(logr.FromSlogHandler(cfg.Logger.Handler()))
	mgr, err := newManager(cfg)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	metrics := newMetrics(registry)
	objects := objects{reader: mgr.GetClient(), namespace: cfg.Namespace, platform: cfg.Platform}
	store := newStore(cfg)
	lead := newLeader(cfg, objects, mgr.GetClient(), mgr.GetEventRecorder(fieldManager), store, js, metrics)
	if err := lead.watch(ctx, mgr.GetCache()); err != nil {
		return err
	}
	health := health{store: store, stream: js.Conn(), lead: lead, gatherer: prometheus.Gatherers{registry, controllerMetrics()}}
	for _, r := range []manager.Runnable{
		always(store.follow),
		always(func(ctx context.Context) error { return serve(ctx, cfg.HealthListen, health.handler()) }),
		always(func(ctx context.Context) error {
			return serve(ctx, cfg.Listen, newAPI(cfg, objects, store, js, metrics))
		}),
		manager.RunnableFunc(lead.run),
	} {
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("adding a part of the engine: %w", err)
		}
	}
	cfg.Logger.Info("engine starts", "namespace", cfg.Namespace, "platform", cfg.Platform)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the engine of Platform %s/%s: %w", cfg.Namespace, cfg.Platform, err)
	}
	return nil
}

// always makes a runnable that does not wait for the lease.
type always func(ctx context.Context) error

func (f always) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection is false.
func (always) NeedLeaderElection() bool { return false }

func newManager(cfg Config) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering kinds: %w", err)
		}
	}
	mgr, err := ctrl.NewManager(cfg.Kubernetes, manager.Options{
		Scheme: scheme,
		Logger: logr.FromSlogHandler(cfg.Logger.Handler()),
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{cfg.Namespace: {}},
			DefaultTransform:  cache.TransformStripManagedFields(),
		},
		Client:                        client.Options{FieldOwner: fieldManager},
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		LeaderElection:                true,
		LeaderElectionID:              cfg.Platform + "-engine",
		LeaderElectionNamespace:       cfg.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return mgr, nil
}

// together runs functions until all have returned, and ends the others when one fails.
func together(ctx context.Context, runs ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var all sync.WaitGroup
	for i, run := range runs {
		all.Go(func() {
			if errs[i] = run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
