package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// unmerged is what the engine answers; see docs/identity.md.
type unmerged struct {
	Applied  bool   `json:"applied"`
	DryRun   bool   `json:"dryRun"`
	Message  uint64 `json:"message"`
	Profiles []struct {
		ID          string   `json:"id"`
		Kept        bool     `json:"kept"`
		Identifiers []string `json:"identifiers"`
		Events      uint64   `json:"events"`
	} `json:"profiles"`
}

func newIdentityUnmerge(c *cluster) *cobra.Command {
	v := view{table: showUnmerged}
	var from string
	var dryRun bool
	command := &cobra.Command{
		Use:   "unmerge TYPE:VALUE",
		Short: "Cut an identifier out of its profile, for it is another person's",
		Long: `Cut an identifier out of its profile, for it is another person's.

It is cut from every other identifier of the profile, or with --from from that one alone, and what hangs on it goes with it.
Events, traits and accounts go with their identifiers. What was cut apart is never made one again, whatever events say.`,
		Example: `  kohort identity unmerge anonymousId:7f3c --platform shop -n crm --dry-run
  kohort identity unmerge anonymousId:7f3c --from email:ada@example.com --platform shop -n crm`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			query := url.Values{"identifier": args, "dryRun": {strconv.FormatBool(dryRun)}}
			if command.Flags().Changed("from") {
				query.Set("from", from)
				args = append(args, from)
			}
			if err := checkIdentifiers(args...); err != nil {
				return err
			}
			return v.send(command, c, http.MethodPost, "/v1/identity/unmerge?"+query.Encode())
		},
	}
	v.bind(command)
	command.Flags().StringVar(&from, "from", "", "the identifier that it is cut from, default all others of the profile")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only show what it would change")
	return command
}

func showUnmerged(out io.Writer, answer []byte) error {
	var u unmerged
	if err := json.Unmarshal(answer, &u); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "PROFILE", "IS", "EVENTS", "IDENTIFIERS", "WHICH")
	for _, p := range u.Profiles {
		is := "new"
		if p.Kept {
			is = "kept"
		}
		row(w, p.ID, is, strconv.FormatUint(p.Events, 10), strconv.Itoa(len(p.Identifiers)), strings.Join(p.Identifiers, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	said := fmt.Sprintf("One profile would become %d (dry run).", len(u.Profiles))
	switch {
	case u.Applied:
		said = fmt.Sprintf("One profile has become %d. Audiences follow when they are next evaluated.", len(u.Profiles))
	case !u.DryRun:
		said = fmt.Sprintf("One profile will become %d: the request is message %d of the stream, and ingestion has not come to it yet.", len(u.Profiles), u.Message)
	}
	_, err := fmt.Fprintln(out, said)
	return err
}
