package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"kohort.dev/kohort/internal/engine"
)

func newEngineCommand() *cobra.Command {
	var cfg engine.Config
	command := &cobra.Command{
		Use:   "engine",
		Short: "Turn a Platform's stream into profiles and audiences, and delete what is too old",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := checkEngine(cfg); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return runEngine(ctx, cfg)
		},
	}
	flags := command.Flags()
	flags.StringVar(&cfg.Namespace, "namespace", "", "namespace of the Platform")
	flags.StringVar(&cfg.Platform, "platform", "", "name of the Platform")
	flags.StringVar(&cfg.WarehouseURL, "warehouse-url", "", "ClickHouse's HTTP interface, http://host:port")
	flags.StringVar(&cfg.WarehouseCredentials, "warehouse-credentials-dir", "", "directory with the files username and password")
	flags.StringVar(&cfg.StreamURL, "stream-url", "", "NATS server, nats://host:port")
	flags.StringVar(&cfg.StreamCredentials, "stream-credentials-dir", "", "directory with the files username and password")
	flags.StringVar(&cfg.APITokenFile, "api-token-file", "", "file with the token that readers of profiles must send")
	flags.StringVar(&cfg.APIKeysDir, "api-keys-dir", "", "directory with a file for each of the Platform's spec.engine.keys")
	flags.StringVar(&cfg.Listen, "listen", ":8080", "address of the profile API")
	flags.StringVar(&cfg.HealthListen, "health-listen", ":8081", "address of /healthz, /readyz and /metrics")
	return command
}

func checkEngine(cfg engine.Config) error {
	for _, required := range []struct{ name, value string }{
		{"namespace", cfg.Namespace}, {"platform", cfg.Platform}, {"warehouse-url", cfg.WarehouseURL},
		{"stream-url", cfg.StreamURL}, {"api-token-file", cfg.APITokenFile},
	} {
		if required.value == "" {
			return fmt.Errorf("flag --%s is required", required.name)
		}
	}
	return nil
}

func runEngine(ctx context.Context, cfg engine.Config) error {
	var err error
	if cfg.Kubernetes, err = kubernetes(); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("platform", cfg.Platform)
	cfg.Now = time.Now
	return engine.Run(ctx, cfg)
}

// kubernetes is the API server of the pod's own cluster, or the one of KUBECONFIG outside of a pod.
func kubernetes() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server (a service account's token, or KUBECONFIG): %w", err)
	}
	return config, nil
}
