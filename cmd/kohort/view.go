package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// view is how a command shows what a Platform's engine answers.
type view struct {
	platform, output string
	table            func(io.Writer, []byte) error // for people
}

func (v *view) bind(command *cobra.Command) {
	command.Flags().StringVar(&v.platform, "platform", "", "name of the Platform")
	command.Flags().StringVarP(&v.output, "output", "o", "table", "table, json or yaml")
}

// show asks the engine for a path and shows its answer.
func (v *view) show(command *cobra.Command, c *cluster, path string) error {
	return v.send(command, c, http.MethodGet, path)
}

// send sends the engine a request that has no body, and shows its answer.
func (v *view) send(command *cobra.Command, c *cluster, method, path string) error {
	show, ok := map[string]func(io.Writer, []byte) error{"table": v.table, "json": showJSON, "yaml": showYAML}[v.output]
	if !ok {
		return fmt.Errorf("-o %s is none of table, json and yaml", v.output)
	}
	if v.platform == "" {
		return hint(errors.New("flag --platform is required"), "kubectl get platforms -A lists them")
	}
	ctx, cancel := context.WithCancel(command.Context())
	defer cancel()
	e, err := reach(ctx, c, v.platform)
	if err != nil {
		return err
	}
	answer, err := e.ask(ctx, method, path, nil)
	if err != nil {
		return err
	}
	return show(command.OutOrStdout(), answer)
}
