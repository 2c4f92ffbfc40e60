package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3client"
	"kohort.dev/kohort/internal/source"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse"
)

// pullFlags of a pull. Credentials are files of mounted Secrets; what to read is the order in the environment.
type pullFlags struct {
	streamURL, streamCredentials       string
	warehouseURL, warehouseCredentials string
	dsnFile                            string
	s3KeyIDFile, s3SecretFile          string
	terminationLog                     string
}

func newPullCommand() *cobra.Command {
	var f pullFlags
	command := &cobra.Command{
		Use:   "pull",
		Short: "Read files or a database once and publish what they hold as events",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			report, err := f.run(command.Context())
			if command.Context().Err() != nil && errors.Is(err, context.Canceled) {
				err = run.Fail("RunFailed", "the run was stopped before its end; what it published counts, and the next run goes on")
			}
			return finish(f.terminationLog, report, err)
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.streamURL, "stream-url", "", "NATS server, nats://host:port")
	flags.StringVar(&f.streamCredentials, "stream-credentials-dir", "", "directory with the files username and password")
	flags.StringVar(&f.warehouseURL, "warehouse-url", "", "ClickHouse over HTTP, http://host:port")
	flags.StringVar(&f.warehouseCredentials, "warehouse-credentials-dir", "", "directory with the files username and password")
	flags.StringVar(&f.dsnFile, "dsn-file", "", "file that holds the connection string of a sql Source's database")
	flags.StringVar(&f.s3KeyIDFile, "s3-key-id-file", "", "file that holds the id of the key to a files Source's S3 storage")
	flags.StringVar(&f.s3SecretFile, "s3-secret-file", "", "file that holds the secret of that key")
	flags.StringVar(&f.terminationLog, "termination-log", run.TerminationPath, "file that the report is written to")
	for _, name := range []string{"stream-url", "warehouse-url"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return command
}

func (f *pullFlags) run(ctx context.Context) (run.Report, error) {
	order, err := run.ReadOrder[run.PullOrder]()
	if err != nil {
		return run.Report{}, run.Refuse("RunFailed", "%w", err)
	}
	log := slog.Default().With("platform", order.Platform, "source", order.Source)
	js, err := stream.Connect(ctx, f.streamURL, f.streamCredentials)
	if err != nil {
		return run.Report{}, err
	}
	defer js.Conn().Close()
	conn, err := warehouse.Open(ctx, f.warehouseURL, f.warehouseCredentials)
	if err != nil {
		return run.Report{}, err
	}
	defer func() { _ = conn.Close() }()
	publisher := stream.NewPublisher(js, stream.Subject(order.Source), stream.PublisherOptions{})
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		publisher.Close(closing)
	}()
	log.Info("reading", "slot", order.Slot)
	return source.Run(ctx, source.Options{
		Order: order, Log: publisher, Cursors: source.NewCursors(conn, order.Source, time.Now),
		DSN: func() (string, error) {
			content, err := os.ReadFile(f.dsnFile)
			return string(content), err
		},
		S3Keys: func() (s3client.Keys, error) {
			keys := files{"id": f.s3KeyIDFile, "secret": f.s3SecretFile}
			id, err := keys.Value("id")
			if err != nil {
				return s3client.Keys{}, err
			}
			secret, err := keys.Value("secret")
			return s3client.Keys{ID: id, Secret: secret}, err
		},
		HTTP: source.NewHTTPClient(), Now: time.Now,
	})
}
