package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// quarantineGroups is what the engine answers; see docs/quarantine.md.
type quarantineGroups struct {
	Groups []struct {
		Source     string `json:"source"`
		Stage      string `json:"stage"`
		Reason     string `json:"reason"`
		Rows       uint64 `json:"rows"`
		Redrivable uint64 `json:"redrivable"`
	} `json:"groups"`
}

func newRedrive(c *cluster) *cobra.Command {
	var platform string
	var filter quarantineFilter
	var dryRun bool
	command := &cobra.Command{
		Use:   "redrive",
		Short: "Let events out of quarantine in again, after what refused them was corrected",
		Long: `Let events out of quarantine in again, after what refused them was corrected.

Each event is judged as if it had arrived just now: what is wrong still comes back to quarantine, what was stored meanwhile
is a duplicate. The time at which it was received, its Source and its party stay. It may be repeated and interrupted.`,
		Example: `  kohort redrive --platform shop --source web --reason PlanViolated --dry-run
  kohort redrive --platform shop --source web --reason PlanViolated --since 24h`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if platform == "" {
				return hint(errors.New("flag --platform is required"), "kubectl get platforms -A lists them")
			}
			ctx, cancel := context.WithCancel(command.Context())
			defer cancel()
			e, err := reach(ctx, c, platform)
			if err != nil {
				return err
			}
			return redrive(ctx, command.OutOrStdout(), e, filter, dryRun)
		},
	}
	filter.bind(command.Flags())
	command.Flags().StringVar(&platform, "platform", "", "name of the Platform")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only count")
	return command
}

// redrive tells what is there, and sends it page by page.
func redrive(ctx context.Context, out io.Writer, e endpoint, filter quarantineFilter, dryRun bool) error {
	query := filter.query()
	answer, err := e.ask(ctx, http.MethodGet, "/v1/quarantine/summary?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	redrivable, err := showGroups(out, answer)
	if err != nil || redrivable == 0 {
		return err
	}
	if dryRun {
		_, err := fmt.Fprintf(out, "%s would be let in again (dry run).\n", rows(redrivable))
		return err
	}
	sent, refused, example := 0, 0, ""
	for {
		answer, err := e.ask(ctx, http.MethodPost, "/v1/quarantine/redrive?"+query.Encode(), nil)
		if err != nil {
			return hint(err, "%d were sent; run the same again to go on, what was sent counts once", sent)
		}
		var page struct {
			Sent    int    `json:"sent"`
			Refused int    `json:"refused"`
			Example string `json:"example"`
			Next    string `json:"next"`
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			return fmt.Errorf("reading the engine's answer: %w", err)
		}
		sent, refused, example = sent+page.Sent, refused+page.Refused, cmp.Or(example, page.Example)
		if page.Next == "" {
			break
		}
		fmt.Fprintf(out, "%d of about %d\n", sent+refused, redrivable)
		query.Set("cursor", page.Next)
	}
	if refused > 0 {
		fmt.Fprintf(out, "The mapping still makes no event of %s, which stay; the first: %s\n", rows(uint64(refused)), example)
	}
	_, err = fmt.Fprintf(out, "Sent again: %s. What is refused once more is back in a few seconds: kohort quarantine\n", rows(uint64(sent)))
	return err
}

func rows(n uint64) string {
	if n == 1 {
		return "1 row"
	}
	return strconv.FormatUint(n, 10) + " rows"
}

// showGroups prints what is in quarantine, and gives how much of it can be let in.
func showGroups(out io.Writer, answer []byte) (redrivable uint64, err error) {
	var all quarantineGroups
	if err := json.Unmarshal(answer, &all); err != nil {
		return 0, fmt.Errorf("reading the engine's answer: %w", err)
	}
	if len(all.Groups) == 0 {
		_, err := fmt.Fprintln(out, "Nothing is in quarantine that you ask for.")
		return 0, err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "SOURCE", "STAGE", "REASON", "ROWS", "REDRIVABLE")
	count := uint64(0)
	for _, g := range all.Groups {
		row(w, g.Source, g.Stage, g.Reason, strconv.FormatUint(g.Rows, 10), strconv.FormatUint(g.Redrivable, 10))
		count += g.Rows
		redrivable += g.Redrivable
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if left := count - redrivable; left > 0 {
		fmt.Fprintf(out, "Not to be let in: %s that nobody could read. Correct the data, and run their Source again.\n", rows(left))
	}
	return redrivable, nil
}
