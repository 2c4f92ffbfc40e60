// Command worker is the part of a Platform that holds nothing: "worker engine" turns the stream into profiles and
// audiences, "worker collect" takes events from SDKs.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{
		Use:           "worker",
		Short:         "The engine and the collectors of a Kohort Platform",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newEngineCommand(), newCollectCommand())
	if err := root.ExecuteContext(context.Background()); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("worker ends", "error", err.Error())
		os.Exit(1)
	}
}
