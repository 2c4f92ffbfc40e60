package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/sync"
	"kohort.dev/kohort/internal/run"
)

func newDestination(c *cluster) *cobra.Command {
	command := &cobra.Command{Use: "destination", Short: "What a destination is sent"}
	command.AddCommand(newDestinationTest(c))
	return command
}

// destinationTest is what is asked for.
type destinationTest struct {
	identifiers, traits []string // type=value, field=value
	audience            string   // empty: the record is made up
	send, remove        bool
}

func newDestinationTest(c *cluster) *cobra.Command {
	var test destinationTest
	var output, image string
	command := &cobra.Command{
		Use:   "test DESTINATION",
		Short: "Show what a destination would be sent of one customer, and with --send send it",
		Long: `Show what a destination would be sent of one customer, and with --send send it and show the answer.

The customer is made up by --identifier and --trait, or a member of an Audience by --audience. The request is made in the
cluster, by a Job with the Destination's Secrets: neither they nor a customer's data come out of it. What is shown is masked.`,
		Example: `  kohort destination test mailer --identifier email=ada@example.com --trait tariff=pro -n shop
  kohort destination test mailer --audience vip -n shop
  kohort destination test mailer --identifier email=ada@example.com --send -n shop
  kohort destination test mailer --identifier email=ada@example.com --send --remove -n shop`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if output != "table" && output != "json" && output != "yaml" {
				return fmt.Errorf("-o %s is none of table, json and yaml", output)
			}
			record, err := test.record()
			if err != nil {
				return err
			}
			objects, namespace, err := c.objects()
			if err != nil {
				return err
			}
			job, err := test.job(command.Context(), objects, namespace, args[0])
			if err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			job.Image = image
			answer, err := conn.rehearse(command.Context(), job, record)
			if err != nil {
				return err
			}
			return showRehearsal(command.OutOrStdout(), args[0], answer, output)
		},
	}
	f := command.Flags()
	f.StringArrayVar(&test.identifiers, "identifier", nil, "identifier of a customer that is made up, type=value; may be repeated")
	f.StringArrayVar(&test.traits, "trait", nil, "trait of that customer, field=value, by its name at the destination; a value that is JSON is sent as such; may be repeated")
	f.StringVar(&test.audience, "audience", "", "take a member of this Audience, with the identifiers and traits that it sends here")
	f.BoolVar(&test.send, "send", false, "send it")
	f.BoolVar(&test.remove, "remove", false, "take the customer out instead of putting them in")
	f.StringVar(&image, "image", "", "image of the connector; default the operator's")
	f.StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return command
}

// record that was made up; nil with an Audience.
func (t destinationTest) record() (*run.Record, error) {
	switch {
	case t.audience != "" && len(t.identifiers)+len(t.traits) > 0:
		return nil, errors.New("either --audience, or --identifier and --trait: not both")
	case t.audience != "" && t.send && t.remove:
		return nil, hint(errors.New("a member of an Audience is not taken out: the Sync would not know"), "take out a customer that is made up, by --identifier")
	case t.audience != "":
		return nil, nil
	case len(t.identifiers) == 0:
		return nil, hint(errors.New("no customer is given"), "make one up with --identifier email=ada@example.com, or take a member with --audience")
	}
	r := &run.Record{Identifiers: map[string][]string{}, Traits: map[string]json.RawMessage{}}
	for _, pair := range t.identifiers {
		kind, value, ok := strings.Cut(pair, "=")
		if !ok || kind == "" || value == "" {
			return nil, fmt.Errorf("--identifier %s is not of the form type=value", pair)
		}
		r.Identifiers[kind] = append(r.Identifiers[kind], value)
	}
	for _, pair := range t.traits {
		field, value, ok := strings.Cut(pair, "=")
		if !ok || field == "" {
			return nil, fmt.Errorf("--trait %s is not of the form field=value", pair)
		}
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("encoding --trait %s: %w", field, err)
			}
			raw = text
		}
		r.Traits[field] = raw
	}
	return r, nil
}

// job looks at the Destination, and at the Audience if there is one.
func (t destinationTest) job(ctx context.Context, objects client.Client, namespace, name string) (sync.Test, error) {
	d := &v1alpha1.Destination{}
	err := objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d)
	if apierrors.IsNotFound(err) {
		return sync.Test{}, hint(fmt.Errorf("there is no Destination %s in namespace %s", name, namespace), "kubectl get destinations -A lists them")
	}
	if err != nil {
		return sync.Test{}, fmt.Errorf("reading Destination %s: %w", name, err)
	}
	if c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonSecretNotFound {
		return sync.Test{}, hint(fmt.Errorf("Destination %s is not ready: %s", name, c.Message), "create the Secret, and test again") //nolint:staticcheck // the kind's name
	}
	s := &v1alpha1.Sync{Spec: v1alpha1.SyncSpec{
		PlatformRef: d.Spec.PlatformRef, DestinationRef: v1alpha1.LocalReference{Name: name}, Mode: v1alpha1.SyncMirror,
		AudienceRef: v1alpha1.LocalReference{Name: "kohort-test"},
	}}
	s.Name, s.Namespace = "kohort-test", namespace
	if t.audience != "" {
		a, err := audienceNamed(ctx, objects, namespace, t.audience)
		if err != nil {
			return sync.Test{}, err
		}
		s.Spec.AudienceRef.Name = a.Name
		for _, at := range a.Spec.Destinations {
			if at.Name == name {
				s.Spec.Identifiers, s.Spec.Traits = at.Identifiers, at.Traits
			}
		}
	}
	return sync.Test{
		Name: sync.TestName(name, rand.String(5)), Sync: s, Destination: d,
		HasRecord: t.audience == "", Send: t.send, Remove: t.remove, Slot: time.Now(),
	}, nil
}

// rehearsal is what the connector answers; see docs/destinations.md.
type rehearsal struct {
	Sent      bool `json:"sent"`
	Exchanges []struct {
		To      string   `json:"to"`
		Headers []string `json:"headers"`
		Body    string   `json:"body"`
		Answer  string   `json:"answer"`
	} `json:"exchanges"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// showRehearsal prints it, and fails when the destination did not take the record.
func showRehearsal(out io.Writer, name string, answer []byte, output string) error {
	var r rehearsal
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("reading the connector's answer: %w", err)
	}
	switch output {
	case "json":
		if err := showJSON(out, answer); err != nil {
			return err
		}
	case "yaml":
		if err := showYAML(out, answer); err != nil {
			return err
		}
	default:
		for _, e := range r.Exchanges {
			fmt.Fprintln(out, printable(e.To))
			for _, header := range e.Headers {
				fmt.Fprintln(out, printable(header))
			}
			fmt.Fprintf(out, "\n%s\n\n", printable(e.Body))
			if e.Answer != "" {
				fmt.Fprintf(out, "answer: %s\n\n", printable(e.Answer))
			}
		}
		said := strings.Join(strings.Fields(printable(r.Reason)+" "+printable(r.Message)), " ")
		fmt.Fprintln(out, strings.TrimRight(r.Outcome+": "+said, ": "))
	}
	if r.Outcome == "NotSent" || r.Outcome == "Delivered" {
		return nil
	}
	return hint(fmt.Errorf("Destination %s did not take the record", name), "docs/destinations.md has the remedies by reason") //nolint:staticcheck // the kind's name
}

// printable is a text of several lines without control characters: what a destination answers goes to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, text)
}
