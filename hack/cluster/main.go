// Command cluster runs a Kubernetes cluster of one node on this machine, from
// Go modules and Debian packages alone: no container engine, registry or
// virtual machine is needed. Its product is a real cluster (API server,
// kubelet, containers, Services, DNS, volumes), for the demo and the tests.
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
)

const usage = `usage: cluster COMMAND

  up                start the cluster, or what of it does not run; prints its kubeconfig's path
  down              end it and remove everything that it made
  status            tell what runs; fails unless the cluster is up
  load IMAGE.tar…   give the cluster images, as far as it lacks them
  tools [NAME…]     build the programs that the cluster is made of
  tools envtest     build those that tests with an API server alone need; prints their
                    directory for KUBEBUILDER_ASSETS, which is used as it is when set

KOHORT_CLUSTER_DIR  holds the cluster's state (default ` + defaultState + `)
KOHORT_CACHE        holds built programs (default ~/.cache/kohort)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Packages put programs in the administrator's directories too, which are not in everybody's PATH.
	err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	if err == nil {
		err = dispatch(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// dispatch runs one command. What a script reads goes to standard output, what
// a person reads to standard error.
func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("no command is given")
	}
	l, err := newLayout()
	if err != nil {
		return err
	}
	progress := newProgress(os.Stderr, time.Now)
	command, rest := args[0], args[1:]
	if command != "load" && command != "tools" && len(rest) > 0 {
		return fmt.Errorf("%s takes no arguments, %q is one", command, rest[0])
	}
	switch command {
	case "up", "down", "status", "load":
		if os.Geteuid() != 0 {
			return errors.New("a cluster needs root, for containers and their network: run this as root")
		}
	}
	switch command {
	case "up":
		return l.runUp(ctx, progress)
	case "down":
		if _, err := os.Stat(l.root); errors.Is(err, os.ErrNotExist) {
			progress.say("no cluster: nothing to remove")
			return nil
		}
		return l.locked(func() error { return l.down(ctx, progress.say) })
	case "status":
		return l.status(ctx, os.Stdout)
	case "load":
		if len(rest) == 0 {
			return errors.New("load wants the image archives to load")
		}
		return l.load(ctx, rest, progress.say)
	case "tools":
		return runTools(ctx, rest, progress)
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("there is no command %q", command)
	}
}

func (l layout) runUp(ctx context.Context, progress *progress) error {
	tools, err := openToolbox(progress)
	if err != nil {
		return err
	}
	if err := l.locked(func() error {
		if err := l.make(); err != nil {
			return err
		}
		return l.up(ctx, tools, progress.say)
	}); err != nil {
		return err
	}
	fmt.Println(l.kubeconfig())
	return nil
}

// locked runs f while no other call changes the cluster.
func (l layout) locked(f func() error) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	return errors.Join(f(), unlock())
}

func runTools(ctx context.Context, names []string, progress *progress) error {
	tools, err := openToolbox(progress)
	if err != nil {
		return err
	}
	if len(names) == 1 && names[0] == "envtest" {
		directory, err := tools.envtest(ctx)
		if err != nil {
			return err
		}
		fmt.Println(directory)
		return nil
	}
	return tools.build(ctx, names...)
}

// openToolbox returns the tools whose source lies where the script cluster says.
func openToolbox(progress *progress) (toolbox, error) {
	source := os.Getenv("KOHORT_MODULE_DIR")
	if source == "" {
		source = "."
	}
	source, err := filepath.Abs(source)
	if err != nil {
		return toolbox{}, fmt.Errorf("finding this program's source: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return toolbox{}, err
	}
	return newToolbox(source, cache, progress.say)
}
