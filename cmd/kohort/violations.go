package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// violations is what the engine answers; see docs/tracking-plans.md.
type violations struct {
	Violations []struct {
		Source    string    `json:"source"`
		Event     string    `json:"event"`
		Field     string    `json:"field"`
		Rule      string    `json:"rule"`
		Action    string    `json:"action"`
		Message   string    `json:"message"`
		Count     uint64    `json:"count"`
		MessageID string    `json:"messageId"`
		Received  time.Time `json:"received"`
	} `json:"violations"`
}

func newViolations(c *cluster) *cobra.Command {
	var source, event, since string
	v := view{table: showViolations}
	var limit int
	command := &cobra.Command{
		Use:   "violations",
		Short: "Show what events broke of their tracking plan, newest first",
		Example: `  kohort violations --platform shop -n crm
  kohort violations --platform shop --source web --event "Order Completed" --since 7d -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			query := url.Values{"since": {since}, "limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"source": source, "event": event} {
				if value != "" {
					query.Set(name, value)
				}
			}
			return v.show(command, c, "/v1/violations?"+query.Encode())
		},
	}
	v.bind(command)
	command.Flags().StringVar(&source, "source", "", "of this Source alone")
	command.Flags().StringVar(&event, "event", "", "of events of this name alone")
	command.Flags().StringVar(&since, "since", "24h", "how long ago, such as 7d, or a time such as 2026-11-23T12:00:00Z")
	command.Flags().IntVar(&limit, "limit", 100, "how many to show, at most 1000")
	return command
}

func showViolations(out io.Writer, answer []byte) error {
	var all violations
	if err := json.Unmarshal(answer, &all); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	if len(all.Violations) == 0 {
		_, err := fmt.Fprintln(out, "No event broke a tracking plan in that time.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "RECEIVED", "SOURCE", "EVENT", "FIELD", "RULE", "COUNT", "ACTION", "MESSAGE", "ONE OF THEM")
	for _, v := range all.Violations {
		row(w, stamp(v.Received), v.Source, v.Event, v.Field, v.Rule, strconv.FormatUint(v.Count, 10), v.Action, v.Message, v.MessageID)
	}
	return w.Flush()
}
