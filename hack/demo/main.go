// Command demo runs the main job in a real cluster: it brings a cluster up, installs Kohort with its chart, lets the
// customers of a made-up shop send their events, and shows what became of them beside the truth. It also takes all of it
// away again, and prepares a cluster for the end-to-end tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

const usage = `usage: demo COMMAND

  up     bring up the cluster, Kohort and the shop; show what Kohort made of it
  down   take all of it away
  e2e    bring up the cluster and Kohort, and run the end-to-end tests, or those whose names match E2E_RUN

CLUSTER=local     (default) a cluster of one node on this machine, built from source by hack/cluster
CLUSTER=kind      a kind cluster named kohort
CLUSTER=existing  the cluster of KUBECONFIG; IMAGE_LOAD is a command that gives it an image archive, such as
                  "k3d image import" or "minikube image load"; without it the images must be there
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// size of the demo's shop: 60,000 events, which load in seconds.
func size(now time.Time) population.Config {
	return population.Config{Seed: 1, Customers: 2000, Clock: now.UTC().Truncate(time.Second)}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("one command is needed")
	}
	root, err := repository()
	if err != nil {
		return err
	}
	d := &demo{root: root, progress: newProgress(os.Stdout, time.Now)}
	if d.cluster, err = chooseCluster(root, os.Getenv); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return d.up(ctx)
	case "down":
		return d.down(ctx)
	case "e2e":
		return d.e2e(ctx)
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("there is no command %q", args[0])
	}
}

// repository is the directory that holds this program's source, which the script says.
func repository() (string, error) {
	source := os.Getenv("KOHORT_MODULE_DIR")
	if source == "" {
		return "", errors.New("KOHORT_MODULE_DIR is not set: start hack/demo/demo, or make demo")
	}
	return filepath.Abs(filepath.Join(source, "..", ".."))
}
