package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"kohort.dev/kohort/test/demo/desk"
	"kohort.dev/kohort/test/demo/receiver"
)

// support serves the support desk's export.
func support(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	generated := populationFlags(flags)
	listen := flags.String("listen", ":8080", "address to serve on")
	return func(ctx context.Context, _ io.Writer, log *slog.Logger) error {
		p, err := generated()
		if err != nil {
			return err
		}
		handler, err := desk.Handler(p.Tickets, time.Now())
		if err != nil {
			return err
		}
		return serve(ctx, *listen, handler, log)
	}
}

// receive serves a webhook that holds audiences.
func receive(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	listen := flags.String("listen", ":8080", "address to serve on")
	tokenFile := flags.String("token-file", "", "file that holds the token that senders must give")
	state := flags.String("state", "", "file that keeps the members over a restart (default: memory only)")
	return func(ctx context.Context, _ io.Writer, log *slog.Logger) error {
		if _, err := readFile("token-file", *tokenFile); err != nil {
			return err
		}
		ledger, err := receiver.Open(*state)
		if err != nil {
			return err
		}
		return serve(ctx, *listen, receiver.Handler(ledger, *tokenFile, log), log)
	}
}

// serve answers requests until ctx ends, and then those that are under way.
func serve(ctx context.Context, listen string, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{Addr: listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Info("serving", "address", listen)
	select {
	case err := <-ended:
		return fmt.Errorf("serving on %s: %w", listen, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := server.Shutdown(grace)
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
