package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// explanation is what the engine answers; see docs/identity.md.
type explanation struct {
	Links []struct {
		From      string    `json:"from"`
		To        string    `json:"to"`
		MessageID string    `json:"messageId"`
		Source    string    `json:"source"`
		Occurred  time.Time `json:"occurred"`
	} `json:"links"`
}

func newIdentity(c *cluster) *cobra.Command {
	command := &cobra.Command{Use: "identity", Short: "Why customers are who they are, and how to part them"}
	command.AddCommand(newIdentityExplain(c), newIdentityUnmerge(c))
	return command
}

func newIdentityExplain(c *cluster) *cobra.Command {
	v := view{table: showExplanation}
	command := &cobra.Command{
		Use:     "explain TYPE:VALUE TYPE:VALUE",
		Short:   "Show the chain of events that made two identifiers one customer's",
		Example: `  kohort identity explain anonymousId:7f3c email:ada@example.com --platform shop -n crm`,
		Args:    cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			if err := checkIdentifiers(args...); err != nil {
				return err
			}
			query := url.Values{"from": {args[0]}, "to": {args[1]}}
			return v.show(command, c, "/v1/identity/explain?"+query.Encode())
		},
	}
	v.bind(command)
	return command
}

// checkIdentifiers refuses what is not written as an identifier.
func checkIdentifiers(texts ...string) error {
	for _, text := range texts {
		if kind, value, ok := strings.Cut(text, ":"); !ok || kind == "" || value == "" {
			return hint(fmt.Errorf("%q is no identifier", text), "write its type and value, such as userId:42 or email:ada@example.com")
		}
	}
	return nil
}

func showExplanation(out io.Writer, answer []byte) error {
	var e explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	if len(e.Links) == 0 {
		_, err := fmt.Fprintln(out, "These are one identifier.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "IDENTIFIER", "SEEN WITH", "AT", "SOURCE", "MESSAGE")
	for _, l := range e.Links {
		row(w, l.From, l.To, stamp(l.Occurred), l.Source, l.MessageID)
	}
	return w.Flush()
}
