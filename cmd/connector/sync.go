package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/sync"
	"kohort.dev/kohort/internal/warehouse"
)

// syncFlags are the files and addresses of a sync; what to deliver is in its order.
type syncFlags struct {
	warehouseURL  string
	warehouseCred string
	dsnFile       string
	tokenFile     string
	keyFiles      []string
	caFile        string
	secrets       []string
	s3KeyIDFile   string
	s3SecretFile  string
	termination   string
}

// bind the flags that every command to a destination has.
func (s *syncFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&s.warehouseURL, "warehouse-url", "", "address of the warehouse, such as http://shop-warehouse.shop.svc:8123")
	f.StringVar(&s.warehouseCred, "warehouse-credentials-dir", "", "directory with the files username and password")
	f.StringVar(&s.dsnFile, "dsn-file", "", "file with the connection string of a sql destination")
	f.StringVar(&s.tokenFile, "token-file", "", "file with the one credential of a destination over HTTP: token, write key, access token, password or key of a service account")
	f.StringVar(&s.caFile, "ca-file", "", "file with the certificates of those who may sign a kafka destination's")
	f.StringArrayVar(&s.secrets, "secret", nil, "NAME=file of a secret that a connector destination uses; may be repeated")
	f.StringVar(&s.s3KeyIDFile, "s3-key-id-file", "", "file with the id of the key to a files destination's S3 storage")
	f.StringVar(&s.s3SecretFile, "s3-secret-file", "", "file with the secret of that key")
	f.StringArrayVar(&s.keyFiles, "signing-key-file", nil, "file with a key that requests to a webhook are signed with; once or twice")
}

func newSyncCommand() *cobra.Command {
	var flags syncFlags
	command := &cobra.Command{
		Use:   "sync",
		Short: "Make a destination hold the members of an audience",
		Long: `Deliver the difference between an audience and what its destination holds.

The order is read from the environment variable ` + run.OrderVariable + `. The exit code is 0 when every row was delivered or
rejected, 1 when trying again may help, and 2 when somebody has to change something first.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			report, err := deliver(command.Context(), flags)
			return finish(flags.termination, report, err)
		},
	}
	flags.bind(command.Flags())
	command.Flags().StringVar(&flags.termination, "termination-log", run.TerminationPath, "file that the report is written to")
	if err := command.MarkFlagRequired("warehouse-url"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

// deliver runs the order.
func deliver(ctx context.Context, flags syncFlags) (report run.Report, err error) {
	order, err := run.ReadOrder[run.SyncOrder]()
	if err != nil {
		return report, run.Refuse("RunFailed", "%w", err)
	}
	target, err := newDestination(order, flags)
	if err != nil {
		return report, err
	}
	defer func() { _ = target.Close() }() // everything that was delivered has been acknowledged
	conn, err := warehouse.Open(ctx, flags.warehouseURL, flags.warehouseCred)
	if err != nil {
		return report, run.Fail("PlatformNotReady", "%w; look at the pods of Platform %s", err, order.Platform)
	}
	defer func() { _ = conn.Close() }()
	host, err := os.Hostname()
	if err != nil {
		return report, fmt.Errorf("reading the name of the pod: %w", err)
	}
	config := sync.DefaultConfig()
	config.Warehouse, config.Order, config.Destination, config.Host, config.Log = conn, order, target, host, slog.Default()
	return sync.Run(ctx, config)
}
