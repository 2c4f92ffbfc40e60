package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"kohort.dev/kohort/test/demo/crm"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/segment"
)

// web sends what happens on the website.
func web(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	return sender(flags, "analytics.js", segment.Client{Path: "/v1/batch"}, func(p *population.Population) []population.Trail { return p.Web })
}

// app sends what happens in the app.
func app(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	return sender(flags, "analytics-kotlin", segment.Client{Path: "/v1/b", Gzip: true}, func(p *population.Population) []population.Trail { return p.App })
}

func sender(flags *flag.FlagSet, library string, client segment.Client, trails func(*population.Population) []population.Trail) func(context.Context, io.Writer, *slog.Logger) error {
	generated := populationFlags(flags)
	flags.StringVar(&client.Endpoint, "endpoint", "", "base URL of the collector")
	keyFile := flags.String("write-key-file", "", "file that holds the Source's write key")
	connections := flags.Int("connections", 8, "number of requests at once")
	pace := flags.Duration("pace", 0, "time from one request to the next (default: as fast as the collector answers)")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long to go on trying")
	return func(ctx context.Context, out io.Writer, _ *slog.Logger) error {
		p, err := generated()
		if err != nil {
			return err
		}
		if client.WriteKey, err = readFile("write-key-file", *keyFile); err != nil {
			return err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = *connections
		client.HTTP, client.Wait = &http.Client{Transport: transport, Timeout: 30 * time.Second}, segment.Sleep
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		report, err := segment.Load(ctx, &client, trails(p), segment.Options{Library: library, Connections: *connections, Pace: *pace, Now: time.Now})
		if encodeErr := json.NewEncoder(out).Encode(report); err == nil {
			err = encodeErr
		}
		if err != nil {
			return fmt.Errorf("sending to %s: %w", client.Endpoint, err)
		}
		return nil
	}
}

// fillCRM fills the CRM's table.
func fillCRM(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	generated := populationFlags(flags)
	dsnFile := flags.String("dsn-file", "", "file that holds the connection string of the CRM's database")
	timeout := flags.Duration("timeout", 2*time.Minute, "how long to wait for the database")
	return func(ctx context.Context, out io.Writer, log *slog.Logger) error {
		p, err := generated()
		if err != nil {
			return err
		}
		dsn, err := readFile("dsn-file", *dsnFile)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		for {
			changed, err := crm.Load(ctx, dsn, p.Customers)
			if err == nil {
				return json.NewEncoder(out).Encode(map[string]int64{"customers": int64(len(p.Customers)), "changed": changed})
			}
			log.Warn("the CRM is not loaded yet", "error", err)
			if segment.Sleep(ctx, time.Second) != nil {
				return err
			}
		}
	}
}
