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
	"github.com/spf13/pflag"
)

// quarantineRows is what the engine answers; see docs/quarantine.md.
type quarantineRows struct {
	Rows []struct {
		Source   string    `json:"source"`
		Stage    string    `json:"stage"`
		Reason   string    `json:"reason"`
		Message  string    `json:"message"`
		Original string    `json:"original"`
		Received time.Time `json:"received"`
	} `json:"rows"`
}

// quarantineFilter chooses rows of quarantine; the engine checks it.
type quarantineFilter struct {
	source, stage, reason, event, messageID, since, until string
}

func (f *quarantineFilter) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.source, "source", "", "of this Source alone")
	flags.StringVar(&f.stage, "stage", "", "refused at this stage alone: read, mapping, parse, plan or identity")
	flags.StringVar(&f.reason, "reason", "", "refused for this reason alone, such as PlanViolated")
	flags.StringVar(&f.event, "event", "", "track events of this name alone")
	flags.StringVar(&f.messageID, "message-id", "", "the event with this messageId alone")
	flags.StringVar(&f.since, "since", "", "received since then: how long ago, such as 7d, or a time such as 2026-11-23T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "received before then")
}

func (f *quarantineFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"source": f.source, "stage": f.stage, "reason": f.reason, "event": f.event, "messageId": f.messageID, "since": f.since, "until": f.until,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func newQuarantine(c *cluster) *cobra.Command {
	v := view{table: showQuarantine}
	var limit int
	var released bool
	var filter quarantineFilter
	command := &cobra.Command{
		Use:   "quarantine",
		Short: "Show what could not be taken in, newest first",
		Long:  "Show what could not be taken in, newest first. -o json shows the whole originals, which hold customers' data.",
		Example: `  kohort quarantine --platform shop -n crm
  kohort quarantine --platform shop --source web --reason PlanViolated --since 7d -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			query := filter.query()
			query.Set("limit", strconv.Itoa(limit))
			query.Set("released", strconv.FormatBool(released))
			return v.show(command, c, "/v1/quarantine?"+query.Encode())
		},
	}
	filter.bind(command.Flags())
	v.bind(command)
	command.Flags().IntVar(&limit, "limit", 20, "how many to show, at most 1000")
	command.Flags().BoolVar(&released, "released", false, "show what was let in again too")
	return command
}

func showQuarantine(out io.Writer, answer []byte) error {
	var all quarantineRows
	if err := json.Unmarshal(answer, &all); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	if len(all.Rows) == 0 {
		_, err := fmt.Fprintln(out, "Nothing is in quarantine that you ask for.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "RECEIVED", "SOURCE", "STAGE", "REASON", "MESSAGE", "ORIGINAL")
	for _, r := range all.Rows {
		row(w, stamp(r.Received), r.Source, r.Stage, r.Reason, r.Message, r.Original)
	}
	return w.Flush()
}
