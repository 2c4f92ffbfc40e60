// Command store is the stateful part of a Platform: "store warehouse" is the
// ClickHouse engine behind its HTTP interface, "store stream" a NATS server
// with JetStream. They run as two containers of one pod, so that a crash of
// the engine does not stop the stream.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: store warehouse|stream [flags]

  warehouse   ClickHouse's engine and HTTP interface
  stream      NATS with JetStream

"store warehouse -h" and "store stream -h" list the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("store ends", "error", err.Error())
		os.Exit(1)
	}
}

// run is main without the process: it returns when ctx ends or the store does.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(out, usage)
		return flag.ErrHelp
	}
	switch args[0] {
	case "warehouse":
		return runWarehouse(ctx, args[1:], env, out)
	case "stream":
		return runStream(ctx, args[1:], env, out)
	case "-h", "-help", "--help", "help":
		fmt.Fprint(out, usage)
		return flag.ErrHelp
	}
	fmt.Fprint(out, usage)
	return fmt.Errorf("%q is neither warehouse nor stream", args[0])
}

// parse reads flags; arguments that are none are an error.
func parse(fs *flag.FlagSet, args []string, out io.Writer) error {
	fs.SetOutput(out)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", fs.Name(), fs.Arg(0))
	}
	return nil
}

func logger(out io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
}
