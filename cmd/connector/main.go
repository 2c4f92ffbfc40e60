// Command connector moves customers' data over the edge of a Platform: in from files and databases (pull) and from queues (listen), and out to
// destinations (sync). Each run is a Kubernetes Job: its order is in the environment variable KOHORT_ORDER, its
// credentials are files, and its report is the container's termination message.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"kohort.dev/kohort/internal/run"
)

func main() {
	os.Exit(execute())
}

// execute runs the command line and gives the exit code: those of package run, and ExitFatal for a wrong flag.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))

	root := &cobra.Command{
		Use:           "connector",
		Short:         "Move customers' data into and out of a Kohort Platform",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newPullCommand(), newListenCommand(), newSyncCommand(), newTestCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		return exitCode(err)
	}
	return run.ExitSucceeded
}

// exitError ends the process with a code after a run has written its report: there is nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("the run ended with exit code %d", int(e)) }

// exitCode tells a run that failed, which has already said why, from a command line that is wrong.
func exitCode(err error) int {
	var code exitError
	if errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintln(os.Stderr, "connector:", err)
	return run.ExitFatal
}

// finish writes the report of a run that ended with err to path, the container's termination message, and gives what
// the command returns. The report also goes to the log, where it outlives the pod's status.
func finish(path string, report run.Report, err error) error {
	code := report.Close(err)
	encoded := report.Encode()
	slog.Info("run ended", "report", string(encoded), "exitCode", code)
	if err := os.WriteFile(path, encoded, 0o600); err != nil {
		// The run itself is done and recorded in the warehouse; only its report is lost.
		slog.Error("writing the report", "path", path, "error", err)
	}
	if code == run.ExitSucceeded {
		return nil
	}
	return exitError(code)
}
