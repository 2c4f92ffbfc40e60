package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/sync"
	"kohort.dev/kohort/internal/warehouse"
)

// testTimeout bounds a test: twice what a request may take, with the login before it.
const testTimeout = 90 * time.Second

func newTestCommand() *cobra.Command {
	var flags syncFlags
	var record string
	command := &cobra.Command{
		Use:   "test",
		Short: "Show what a destination is sent of one record",
		Long: `Show what a destination is sent of one record, without anything personal or secret, as one line of JSON on the standard
output. The order is read from the environment variable ` + run.OrderVariable + `.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(command.Context(), testTimeout)
			defer cancel()
			rehearsal, err := rehearse(ctx, flags, record)
			if err != nil {
				rehearsal = destination.Failed(err)
			}
			return show(command.OutOrStdout(), rehearsal)
		},
	}
	flags.bind(command.Flags())
	command.Flags().StringVar(&record, "record-file", "", "file with the record as JSON; default a member of the audience")
	return command
}

// show writes a rehearsal in a way that tells it from a log.
func show(out io.Writer, rehearsal destination.Rehearsal) error {
	text, err := json.Marshal(map[string]destination.Rehearsal{"rehearsal": rehearsal})
	if err != nil {
		return fmt.Errorf("encoding the rehearsal: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

func rehearse(ctx context.Context, flags syncFlags, record string) (destination.Rehearsal, error) {
	order, err := run.ReadOrder[run.TestOrder]()
	if err != nil {
		return destination.Rehearsal{}, run.Refuse("RunFailed", "%w", err)
	}
	target, err := newDestination(order.SyncOrder, flags)
	if err != nil {
		return destination.Rehearsal{}, err
	}
	defer func() { _ = target.Close() }() // what was delivered has been acknowledged
	var op destination.Operation
	if record != "" {
		op, err = made(record)
	} else {
		op, err = sampled(ctx, order, flags)
	}
	if err != nil {
		return destination.Rehearsal{}, err
	}
	if order.Remove {
		op.Op, op.Traits, op.New = destination.OpRemove, nil, false
	}
	return destination.Rehearse(ctx, target, op, public(order), order.Send)
}

// testSpace is the space of the ids of records that people made up.
var testSpace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("test.destination.kohort.dev"))

// made is a record that a person made up. Its id is made of its identifiers, so that the same one is taken out again.
func made(path string) (destination.Operation, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return destination.Operation{}, run.Refuse("RunFailed", "the record is missing: %w", err)
	}
	var r run.Record
	if err := json.Unmarshal(text, &r); err != nil {
		return destination.Operation{}, run.Refuse("RunFailed", "the record is no JSON of the form {\"identifiers\": {…}, \"traits\": {…}}")
	}
	for _, values := range r.Identifiers {
		slices.Sort(values)
	}
	key, err := json.Marshal(r.Identifiers) // in the order of the types
	if err != nil {
		return destination.Operation{}, fmt.Errorf("encoding the record: %w", err)
	}
	if r.Identifiers == nil {
		r.Identifiers = map[string][]string{}
	}
	return destination.Operation{
		Op: destination.OpUpsert, ID: uuid.NewSHA1(testSpace, key).String(), Identifiers: r.Identifiers, Traits: r.Traits,
		New: true, Version: uint64(time.Now().UnixMicro()),
	}, nil
}

// sampled is a member of the audience.
func sampled(ctx context.Context, order run.TestOrder, flags syncFlags) (destination.Operation, error) {
	conn, err := warehouse.Open(ctx, flags.warehouseURL, flags.warehouseCred)
	if err != nil {
		return destination.Operation{}, run.Fail("PlatformNotReady", "%w; look at the pods of Platform %s", err, order.Platform)
	}
	defer func() { _ = conn.Close() }()
	return sync.Sample(ctx, conn, order.SyncOrder)
}

// public are the texts of an order: it stands in a Job that many may read, and so names nobody.
func public(order run.TestOrder) []string {
	text, err := json.Marshal(order)
	if err != nil { // it was read from JSON
		panic(err)
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		panic(err)
	}
	return leaves(all)
}

func leaves(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			out = append(out, leaves(one)...)
		}
		return out
	case map[string]any:
		var out []string
		for key, one := range v {
			out = append(append(out, key), leaves(one)...)
		}
		return out
	}
	return nil
}
