package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"kohort.dev/kohort/test/demo/desk"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/segment"
	"kohort.dev/kohort/test/demo/truth"
)

// generate writes what the other commands would send, and the truth about it.
func generate(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	generated := populationFlags(flags)
	directory := flags.String("out", "", "directory to write to; without it only the truth is printed")
	return func(_ context.Context, out io.Writer, _ *slog.Logger) error {
		p, err := generated()
		if err != nil {
			return err
		}
		facts := truth.Of(p, p.Config.Clock)
		if *directory == "" {
			return writeJSON(out, facts)
		}
		if err := os.MkdirAll(*directory, 0o755); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		for name, write := range map[string]func(io.Writer) error{
			"web.jsonl":     func(w io.Writer) error { return writeTrails(w, p.Web, "analytics.js", p.Config.Clock) },
			"app.jsonl":     func(w io.Writer) error { return writeTrails(w, p.App, "analytics-kotlin", p.Config.Clock) },
			"crm.csv":       func(w io.Writer) error { return writeCustomers(w, p.Customers) },
			"tickets.jsonl": func(w io.Writer) error { return desk.Export(w, p.Tickets) },
			"truth.json":    func(w io.Writer) error { return writeJSON(w, facts) },
		} {
			if err := writeFile(filepath.Join(*directory, name), write); err != nil {
				return err
			}
		}
		return nil
	}
}

func writeFile(name string, write func(io.Writer) error) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffered := bufio.NewWriter(file)
	if err := write(buffered); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return buffered.Flush()
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// writeTrails writes one batch request's body per line.
func writeTrails(w io.Writer, trails []population.Trail, library string, sentAt time.Time) error {
	for _, trail := range trails {
		for _, session := range trail.Sessions {
			body, err := segment.Encode(session, library, sentAt)
			if err != nil {
				return err
			}
			if _, err := w.Write(append(body, '\n')); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeCustomers(w io.Writer, customers []population.Customer) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"customer_id", "name", "email", "phone", "country", "plan", "signed_up", "updated_at"}); err != nil {
		return err
	}
	for _, c := range customers {
		record := []string{c.UserID, c.Name, c.Email, c.Phone, c.Country, c.Plan, c.SignedUp.Format(time.RFC3339), c.Updated.Format(time.RFC3339)}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
