// Command shop is the demo's world outside Kohort: a shop with a website, an app, a CRM and a support desk, and a mail tool
// that receives audiences. Its customers are made up from a seed, so it knows what Kohort must find.
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
	"strings"
	"syscall"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

const usage = `usage: shop COMMAND [flags]

  generate   write the made-up history and the truth about it as files
  web        send what happens on the website to a collector, as analytics.js does
  app        send what happens in the app to a collector, as the mobile libraries do
  crm        fill the CRM's table in PostgreSQL
  support    serve the support desk's export over HTTP
  receiver   serve a webhook that holds audiences
  check      compare what Kohort and the receiver show with the truth

shop COMMAND -h lists the flags. The same --seed, --customers and --clock make the same shop everywhere.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	err := dispatch(ctx, os.Args[1:], os.Stdout, log)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "shop:", err)
		}
		os.Exit(1)
	}
}

// command is one of shop's: it declares its flags and returns what runs once they are parsed.
type command func(flags *flag.FlagSet) func(ctx context.Context, out io.Writer, log *slog.Logger) error

func commands() map[string]command {
	return map[string]command{
		"generate": generate, "web": web, "app": app, "crm": fillCRM, "support": support, "receiver": receive, "check": compare,
	}
}

func dispatch(ctx context.Context, args []string, out io.Writer, log *slog.Logger) error {
	if len(args) == 0 {
		fmt.Fprint(out, usage)
		return errors.New("no command is given")
	}
	declare, known := commands()[args[0]]
	if !known {
		fmt.Fprint(out, usage)
		return fmt.Errorf("there is no command %q", args[0])
	}
	flags := flag.NewFlagSet("shop "+args[0], flag.ContinueOnError)
	run := declare(flags)
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes flags only, %q is none", args[0], flags.Arg(0))
	}
	return run(ctx, out, log)
}

// populationFlags declares what chooses a population.
func populationFlags(flags *flag.FlagSet) func() (*population.Population, error) {
	var c population.Config
	flags.Uint64Var(&c.Seed, "seed", 1, "decides everything that looks random")
	flags.IntVar(&c.Customers, "customers", 2000, "number of customers with an account")
	clock := flags.String("clock", "", "the moment that the shop's history ends, in RFC 3339 (default: now)")
	return func() (*population.Population, error) {
		c.Clock = time.Now()
		if *clock != "" {
			at, err := time.Parse(time.RFC3339, *clock)
			if err != nil {
				return nil, fmt.Errorf("--clock: %w", err)
			}
			c.Clock = at
		}
		return population.Generate(c)
	}
}

// readFile returns the text of a mounted Secret's key.
func readFile(name, file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", name, err)
	}
	return strings.TrimSpace(string(data)), nil
}
