package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
)

// audiencePreview is what the engine answers; see docs/audiences.md.
type audiencePreview struct {
	Size     uint64 `json:"size"`
	Current  uint64 `json:"current"`
	Entered  uint64 `json:"entered"`
	Left     uint64 `json:"left"`
	Criteria []struct {
		Name string  `json:"name"`
		Size *uint64 `json:"size"`
	} `json:"criteria"`
	Sample []string `json:"sample"`
	Took   int64    `json:"tookMillis"`
	SQL    string   `json:"sql"`
}

// audienceExplanation is what the engine answers; see docs/audiences.md.
type audienceExplanation struct {
	ID       string     `json:"id"`
	Audience string     `json:"audience"`
	Holds    bool       `json:"holds"`
	Stored   bool       `json:"stored"`
	Since    *time.Time `json:"since"`
	Criteria []struct {
		Name  string `json:"name"`
		Holds bool   `json:"holds"`
	} `json:"criteria"`
	Match string `json:"match"`
}

func newAudience(c *cluster) *cobra.Command {
	command := &cobra.Command{Use: "audience", Short: "Who is in an audience, before it is applied and after"}
	command.AddCommand(newAudiencePreview(c), newAudienceExplain(c), newAudienceApprove(c), newAudienceRollback(c))
	return command
}

func newAudiencePreview(c *cluster) *cobra.Command {
	var file, output string
	var sql bool
	command := &cobra.Command{
		Use:   "preview -f FILE",
		Short: "Compute the Audiences of a file without applying them: size, who would enter and leave, each criterion",
		Example: `  kohort audience preview -f vip.yaml -n crm
  kustomize build . | kohort audience preview -f - -n crm -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if output != "table" && output != "json" && output != "yaml" {
				return fmt.Errorf("-o %s is none of table, json and yaml", output)
			}
			if file == "" {
				return hint(errors.New("flag -f is required"), "name a file with an Audience, or - for the standard input")
			}
			audiences, err := audiencesIn(file, command.InOrStdin())
			if err != nil {
				return err
			}
			return previewAll(command.Context(), command.OutOrStdout(), c, audiences, output, sql)
		},
	}
	command.Flags().StringVarP(&file, "filename", "f", "", "file with Audiences in YAML or JSON; - for the standard input")
	command.Flags().BoolVar(&sql, "sql", false, "print the SQL that gives the members too")
	command.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return command
}

// audiencesIn reads the Audiences of a file; other kinds are passed over.
func audiencesIn(file string, stdin io.Reader) ([]*v1alpha1.Audience, error) {
	from := stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading Audiences: %w", err)
		}
		defer func() { _ = opened.Close() }()
		from = opened
	}
	var out []*v1alpha1.Audience
	documents := utilyaml.NewYAMLReader(bufio.NewReader(from))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		var head struct {
			Kind       string `json:"kind"`
			APIVersion string `json:"apiVersion"`
		}
		if err := yaml.Unmarshal(text, &head); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if head.Kind != "Audience" || !strings.HasPrefix(head.APIVersion, v1alpha1.GroupVersion.Group+"/") {
			continue
		}
		a := &v1alpha1.Audience{}
		if err := yaml.UnmarshalStrict(text, a); err != nil {
			return nil, fmt.Errorf("reading an Audience of %s: %w", file, err)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, hint(fmt.Errorf("%s has no Audience", file), "its documents need apiVersion: %s and kind: Audience", v1alpha1.GroupVersion)
	}
	return out, nil
}

func previewAll(ctx context.Context, out io.Writer, c *cluster, audiences []*v1alpha1.Audience, output string, sql bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	engines := map[[2]string]endpoint{}
	for i, a := range audiences {
		where := *c
		if a.Namespace != "" {
			where.namespace = a.Namespace
		}
		key := [2]string{where.namespace, a.Spec.PlatformRef.Name}
		e, ok := engines[key]
		if !ok {
			var err error
			if e, err = reach(ctx, &where, a.Spec.PlatformRef.Name); err != nil {
				return err
			}
			engines[key] = e
		}
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := previewOne(ctx, out, e, a, output, sql); err != nil {
			return fmt.Errorf("previewing Audience %s: %w", a.Name, err)
		}
	}
	return nil
}

func previewOne(ctx context.Context, out io.Writer, e endpoint, a *v1alpha1.Audience, output string, sql bool) error {
	a.Status = v1alpha1.AudienceStatus{}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding it: %w", err)
	}
	answer, err := e.ask(ctx, http.MethodPost, "/v1/audiences/preview", body)
	if err != nil {
		return err
	}
	switch output {
	case "json":
		return showJSON(out, answer)
	case "yaml":
		return showYAML(out, answer)
	}
	return showPreview(out, a.Name, answer, sql)
}

func showPreview(out io.Writer, name string, answer []byte, sql bool) error {
	var p audiencePreview
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	fmt.Fprintf(out, "Audience %s would have %d members; it has %d: %d enter, %d leave\n", clean(name), p.Size, p.Current, p.Entered, p.Left)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "CRITERION", "CUSTOMERS")
	for _, c := range p.Criteria {
		size := "- (says what they are not)"
		if c.Size != nil {
			size = strconv.FormatUint(*c.Size, 10)
		}
		row(w, c.Name, size)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.Sample) > 0 {
		fmt.Fprintf(out, "Some of them: id:%s\n", strings.Join(p.Sample, ", id:"))
	}
	fmt.Fprintf(out, "Computed in %d ms; nothing was stored\n", p.Took)
	if sql {
		fmt.Fprintf(out, "\n%s\n", bytes.TrimSpace([]byte(p.SQL)))
	}
	return nil
}

func newAudienceExplain(c *cluster) *cobra.Command {
	v := view{table: showAudienceExplanation}
	command := &cobra.Command{
		Use:     "explain AUDIENCE TYPE:VALUE",
		Short:   "Show why a customer is a member of an audience, or is not",
		Example: `  kohort audience explain vip email:ada@example.com --platform shop -n crm`,
		Args:    cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			if kind, value, ok := strings.Cut(args[1], ":"); !ok || kind == "" || value == "" {
				return hint(fmt.Errorf("%q is no identifier", args[1]), "write its type and value, such as userId:42, email:ada@example.com, or id: and a profile's id")
			}
			return v.show(command, c, "/v1/profiles/"+url.PathEscape(args[1])+"/audiences/"+url.PathEscape(args[0]))
		},
	}
	v.bind(command)
	return command
}

func showAudienceExplanation(out io.Writer, answer []byte) error {
	var e audienceExplanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	now := "The rule of " + clean(e.Audience) + " does not hold for this customer now"
	if e.Holds {
		now = "The rule of " + clean(e.Audience) + " holds for this customer now"
	}
	switch {
	case e.Stored && e.Since != nil:
		now += "; a member since " + stamp(*e.Since)
	default:
		now += "; no member"
	}
	if e.Stored != e.Holds {
		now += " until the next evaluation"
	}
	fmt.Fprintln(out, now)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row(w, "CRITERION", "HOLDS")
	for _, c := range e.Criteria {
		holds := "no"
		if c.Holds {
			holds = "yes"
		}
		row(w, c.Name, holds)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if e.Match != "" {
		fmt.Fprintf(out, "Match: %s\n", clean(e.Match))
	}
	return nil
}
