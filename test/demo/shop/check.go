package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"time"

	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/manifests"
	"kohort.dev/kohort/test/demo/truth"
)

// compare prints the final table, and fails when a number in it is wrong.
func compare(flags *flag.FlagSet) func(context.Context, io.Writer, *slog.Logger) error {
	generated := populationFlags(flags)
	var k kubectl.Kubectl
	flags.StringVar(&k.Program, "kubectl", "kubectl", "kubectl to call")
	flags.StringVar(&k.Kubeconfig, "kubeconfig", "", "kubeconfig of the demo's cluster")
	flags.StringVar(&k.Namespace, "namespace", manifests.Namespace, "namespace of the demo")
	return func(ctx context.Context, out io.Writer, _ *slog.Logger) error {
		if k.Kubeconfig == "" {
			return errors.New("--kubeconfig is not set: name the demo's cluster")
		}
		p, err := generated()
		if err != nil {
			return err
		}
		seen, err := check.See(ctx, k)
		if err != nil {
			return err
		}
		lines := check.Compare(truth.Of(p, time.Now()), seen)
		if err := check.Print(out, lines); err != nil {
			return err
		}
		if !check.Agree(lines) {
			return errors.New("the numbers do not agree")
		}
		return nil
	}
}
