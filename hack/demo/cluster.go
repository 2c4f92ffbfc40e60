package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cluster is where the demo runs.
type cluster interface {
	// up brings the cluster to life and returns the kubeconfig and the kubectl to use with it.
	up(ctx context.Context, d *demo) (kubeconfig, kubectl string, err error)
	// load gives the cluster an image archive.
	load(ctx context.Context, d *demo, archives []string) error
	// down takes the cluster away; kept says that it stays, and the demo has to be taken out of it.
	down(ctx context.Context, d *demo) (kept bool, err error)
	// describe says in a few words which cluster it is.
	describe() string
}

// chooseCluster reads CLUSTER. The user's current context is never used unasked.
func chooseCluster(root string, getenv func(string) string) (cluster, error) {
	switch kind := getenv("CLUSTER"); kind {
	case "", "local":
		return localCluster{program: filepath.Join(root, "hack", "cluster", "cluster")}, nil
	case "kind":
		return kindCluster{kubeconfig: filepath.Join(root, "out", "kind.kubeconfig")}, nil
	case "existing":
		kubeconfig := getenv("KUBECONFIG")
		if kubeconfig == "" {
			return nil, errors.New("CLUSTER=existing needs KUBECONFIG, the file of the cluster to use")
		}
		if strings.ContainsRune(kubeconfig, filepath.ListSeparator) {
			return nil, fmt.Errorf("KUBECONFIG is %q: name one file, so that it is clear which cluster is meant", kubeconfig)
		}
		absolute, err := filepath.Abs(kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("KUBECONFIG: %w", err)
		}
		return existingCluster{kubeconfig: absolute, loader: strings.Fields(getenv("IMAGE_LOAD"))}, nil
	default:
		return nil, fmt.Errorf("CLUSTER is %q: choose local, kind or existing", kind)
	}
}

// localCluster is the one that hack/cluster builds and starts on this machine.
type localCluster struct{ program string }

func (c localCluster) describe() string { return "the local cluster" }

func (c localCluster) up(ctx context.Context, d *demo) (string, string, error) {
	kubeconfig, err := d.output(ctx, c.program, "up")
	if err != nil {
		return "", "", err
	}
	tools, err := d.output(ctx, c.program, "tools", "envtest")
	return kubeconfig, filepath.Join(tools, "kubectl"), err
}

func (c localCluster) load(ctx context.Context, d *demo, archives []string) error {
	_, err := d.output(ctx, c.program, append([]string{"load"}, archives...)...)
	return err
}

func (c localCluster) down(ctx context.Context, d *demo) (bool, error) {
	_, err := d.output(ctx, c.program, "down")
	return false, err
}

// kindCluster is a cluster in containers (https://kind.sigs.k8s.io).
type kindCluster struct{ kubeconfig string }

const kindName = "kohort"

func (c kindCluster) describe() string { return "the kind cluster " + kindName }

func (c kindCluster) up(ctx context.Context, d *demo) (string, string, error) {
	for _, program := range []string{"kind", "kubectl"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", "", fmt.Errorf("%s is missing: install it, or use CLUSTER=local", program)
		}
	}
	there, err := d.output(ctx, "kind", "get", "clusters")
	if err != nil {
		return "", "", err
	}
	if !slices.Contains(strings.Fields(there), kindName) {
		_, err = d.output(ctx, "kind", "create", "cluster", "--name", kindName, "--kubeconfig", c.kubeconfig, "--wait", "2m")
	} else {
		_, err = d.output(ctx, "kind", "export", "kubeconfig", "--name", kindName, "--kubeconfig", c.kubeconfig)
	}
	return c.kubeconfig, "kubectl", err
}

func (c kindCluster) load(ctx context.Context, d *demo, archives []string) error {
	for _, archive := range archives {
		if _, err := d.output(ctx, "kind", "load", "image-archive", archive, "--name", kindName); err != nil {
			return err
		}
	}
	return nil
}

func (c kindCluster) down(ctx context.Context, d *demo) (bool, error) {
	_, err := d.output(ctx, "kind", "delete", "cluster", "--name", kindName, "--kubeconfig", c.kubeconfig)
	return false, err
}

// existingCluster is somebody's own.
type existingCluster struct {
	kubeconfig string
	loader     []string // command that takes an archive; empty: the images are there
}

func (c existingCluster) describe() string { return "the cluster of " + c.kubeconfig }

func (c existingCluster) up(context.Context, *demo) (string, string, error) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return "", "", errors.New("kubectl is missing: install it")
	}
	return c.kubeconfig, "kubectl", nil
}

func (c existingCluster) load(ctx context.Context, d *demo, archives []string) error {
	if len(c.loader) == 0 {
		d.progress.say("IMAGE_LOAD is not set: the cluster must be able to get the images by itself")
		return nil
	}
	for _, archive := range archives {
		if _, err := d.output(ctx, c.loader[0], append(slices.Clone(c.loader[1:]), archive)...); err != nil {
			return err
		}
	}
	return nil
}

func (c existingCluster) down(context.Context, *demo) (bool, error) { return true, nil }
