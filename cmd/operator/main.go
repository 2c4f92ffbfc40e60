// Command operator reconciles Kohort's kinds into workloads. It sees no customer data and holds no credential of a
// database or a destination; it only names Secrets.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // time zones of schedules; the image has none

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers"
)

// version is set when the operator is built: -ldflags "-X main.version=0.1.0".
var version = "dev"

// shutdown leaves time to finish a pass and to give up leadership, within the 15 s that the chart's pod has.
const shutdown = 10 * time.Second

// leaseName is the Lease that replicas elect their leader with.
const leaseName = "kohort-operator"

// config is what the flags say.
type config struct {
	options         controllers.Options
	namespaces      []string
	metrics         string
	metricsSecure   bool
	health          string
	leaderElect     bool
	leaderNamespace string
	level           slog.Level
	printVersion    bool
}

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("operator ends", "error", err.Error())
		os.Exit(1)
	}
}

// run is main without the process: it returns when ctx ends or the manager fails.
func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args, out)
	if err != nil {
		return err
	}
	if c.printVersion {
		_, err := fmt.Fprintln(out, version)
		return err
	}
	log := logr.FromSlogHandler(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: c.level}))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	mgr, err := newManager(cluster, c)
	if err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, c.options); err != nil {
		return err
	}
	log.Info("operator starts", "version", version, "namespaces", c.namespaces,
		"kohortImage", c.options.Images.Kohort, "connectorImage", c.options.Images.Connector, "storeImage", c.options.Images.Store)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the operator: %w", err)
	}
	return nil
}

// parse reads the flags and checks them.
func parse(args []string, out io.Writer) (config, error) {
	c := config{options: controllers.Options{Now: time.Now, Random: rand.Reader}}
	var namespaces string
	fs := flag.NewFlagSet("operator", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&c.options.Images.Kohort, "kohort-image", "", "`image` with the binary worker (required)")
	fs.StringVar(&c.options.Images.Connector, "connector-image", "", "`image` with the binary connector (required)")
	fs.StringVar(&c.options.Images.Store, "store-image", "", "`image` with the binary store (required)")
	fs.StringVar(&namespaces, "watch-namespaces", "", "`namespaces` to look after, with commas between them (default: all)")
	fs.IntVar(&c.options.Concurrency, "concurrency", 4, "objects of a kind that are reconciled at once")
	fs.StringVar(&c.metrics, "metrics-bind-address", ":8080", "`address` of /metrics; 0 for none")
	fs.BoolVar(&c.metricsSecure, "metrics-secure", false, "serve /metrics over TLS, and only to those whom RBAC lets get it")
	fs.StringVar(&c.health, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	fs.BoolVar(&c.leaderElect, "leader-elect", true, "let one of several replicas work at a time")
	fs.StringVar(&c.leaderNamespace, "leader-election-namespace", "", "`namespace` of the Lease (default: the pod's)")
	fs.TextVar(&c.level, "log-level", slog.LevelInfo, "`level` of the log: DEBUG, INFO, WARN, ERROR")
	fs.BoolVar(&c.printVersion, "version", false, "print the version and end")
	if err := fs.Parse(args); err != nil {
		return c, fmt.Errorf("reading the flags: %w", err)
	}
	for name := range strings.SplitSeq(namespaces, ",") {
		if name = strings.TrimSpace(name); name != "" {
			c.namespaces = append(c.namespaces, name)
		}
	}
	return c, c.check(fs)
}

func (c config) check(fs *flag.FlagSet) error {
	switch {
	case c.printVersion:
		return nil
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: the operator takes flags only", fs.Arg(0))
	case c.options.Images.Kohort == "":
		return errors.New("--kohort-image is required")
	case c.options.Images.Connector == "":
		return errors.New("--connector-image is required")
	case c.options.Images.Store == "":
		return errors.New("--store-image is required")
	case c.options.Concurrency < 1:
		return errors.New("--concurrency must be at least 1")
	default:
		return nil
	}
}

// newManager makes the manager with its caches, metrics and health.
func newManager(cluster *rest.Config, c config) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("making the kinds known: %w", err)
		}
	}
	cluster = rest.CopyConfig(cluster)
	cluster.UserAgent = "kohort-operator/" + version
	// The API server limits each client by priority and fairness; a limit here would only make many objects slow.
	cluster.QPS = -1
	stop := shutdown
	options := ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(c.namespaces),
		HealthProbeBindAddress:        c.health,
		LeaderElection:                c.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       c.leaderNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &stop,
		Metrics: server.Options{
			BindAddress:   c.metrics,
			SecureServing: c.metricsSecure,
			// HTTP/2 has let clients exhaust servers again and again; metrics do not need it.
			TLSOpts: []func(*tls.Config){func(t *tls.Config) { t.NextProtos = []string{"http/1.1"} }},
		},
	}
	if c.metricsSecure {
		options.Metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(cluster, options)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding a health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding a readiness check: %w", err)
	}
	return mgr, nil
}
