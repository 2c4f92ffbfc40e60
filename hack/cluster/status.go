package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// status writes what runs to w. It fails unless the cluster is up.
func (l layout) status(ctx context.Context, w io.Writer) error {
	names, err := l.recorded()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("no cluster: %s holds none; the command up makes one", l.root)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tPID\tSTATE\tLOG")
	dead := 0
	for _, name := range names {
		r, _, err := l.readRecord(name)
		if err != nil {
			return err
		}
		state := "running"
		if !r.isAlive() {
			state = "dead"
			dead++
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", name, r.PID, state, l.log(name))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	if dead > 0 {
		return fmt.Errorf("%d processes are dead; the command up starts them again", dead)
	}
	api, err := l.newAPIClient()
	if err != nil {
		return err
	}
	if err := api.nodeIsReady(ctx, time.Time{}); err != nil {
		return err
	}
	if err := dnsAnswers(ctx); err != nil {
		return err
	}
	fmt.Fprintf(w, "the node is Ready; KUBECONFIG=%s\n", l.kubeconfig())
	return nil
}
