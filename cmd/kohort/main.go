// Command kohort is for people: it shows what a Platform knows. Installed as kubectl-kohort it is "kubectl kohort".
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	var hint *hinted
	if errors.As(err, &hint) {
		fmt.Fprintln(os.Stderr, "hint: ", hint.next)
	}
	os.Exit(1)
}

// hinted is an error that knows the next step.
type hinted struct {
	error
	next string
}

func (h *hinted) Unwrap() error { return h.error }

func hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

func newRoot() *cobra.Command {
	name := "kohort"
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") {
		name = "kubectl kohort"
	}
	root := &cobra.Command{
		Use: "kohort", Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:        "Look into a Kohort Platform",
		SilenceUsage: true, SilenceErrors: true,
	}
	var c cluster
	c.bind(root.PersistentFlags())
	profile := &cobra.Command{Use: "profile", Short: "Customers as the Platform knows them"}
	profile.AddCommand(newProfileGet(&c))
	root.AddCommand(profile, newIdentity(&c), newAudience(&c), newDestination(&c), newViolations(&c), newQuarantine(&c), newRedrive(&c), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this command", Args: cobra.NoArgs,
		Run: func(command *cobra.Command, _ []string) {
			fmt.Fprintln(command.OutOrStdout(), "kohort", version())
		},
	}
}

// version is what the Go tool has put into the binary: the module's version, or the commit of a build from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	if text == "" || text == "(devel)" {
		text = "development"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			text += " " + setting.Value
		}
	}
	return text + " " + info.GoVersion
}
