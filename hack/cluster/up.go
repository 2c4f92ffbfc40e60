package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// up brings the cluster to life: it makes what is missing, starts what does
// not run and leaves the rest alone, so that it also repairs a cluster some of
// whose processes have died.
func (l layout) up(ctx context.Context, tools toolbox, say func(string, ...any)) error {
	if err := installPackages(ctx, tools); err != nil {
		return err
	}
	if err := tools.build(ctx); err != nil {
		return err
	}
	images, err := systemImages(ctx, tools)
	if err != nil {
		return err
	}
	if err := l.refuseSecondCluster(ctx); err != nil {
		return err
	}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	return l.start(ctx, tools, images, say)
}

// installPackages installs what the cluster takes from the machine.
func installPackages(ctx context.Context, tools toolbox) error {
	command := exec.CommandContext(ctx, filepath.Join(tools.source, "..", "lib", "host.sh"), "cluster")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("installing the machine's packages: %w", err)
	}
	return nil
}

// refuseSecondCluster fails when another Kubernetes node runs on the machine:
// two of them fight for the packet filter.
func (l layout) refuseSecondCluster(ctx context.Context) error {
	if _, err := os.Stat(l.kubeconfig()); err == nil {
		return nil // the rules are this cluster's own
	}
	other, err := otherCluster(ctx)
	if err != nil {
		return err
	}
	if other {
		return errors.New("another Kubernetes node runs on this machine (its kube-proxy's rules are in force): use that cluster, or remove it first")
	}
	return nil
}

// prepare makes everything that processes read when they start.
func (l layout) prepare(ctx context.Context) error {
	if err := l.makeIdentities(time.Now()); err != nil {
		return err
	}
	if err := l.recordOutside(); err != nil {
		return err
	}
	if err := l.setKernel(ctx); err != nil {
		return err
	}
	if err := makeBridge(ctx); err != nil {
		return err
	}
	if err := l.writeContainerdConfig(); err != nil {
		return err
	}
	return l.writeNodeConfig()
}

// start starts every component that does not run and waits until all work.
// Images are loaded while the API server starts, which takes longest.
func (l layout) start(ctx context.Context, tools toolbox, images []string, say func(string, ...any)) error {
	api, err := l.newAPIClient()
	if err != nil {
		return err
	}
	started := 0
	var kubeletBegan time.Time
	begin := func(components ...component) error {
		for _, c := range components {
			isNew, err := l.ensure(c)
			if err != nil {
				return err
			}
			if isNew {
				started++
				if c.name == "kubelet" {
					kubeletBegan = time.Now()
				}
				say("started %s", c.name)
			}
		}
		return nil
	}
	wait := func(c component) func() error { return func() error { return l.awaitReady(ctx, c) } }

	etcd, containerd, server := l.etcd(tools), l.containerd(), l.apiServer(tools, api)
	kubelet, proxy := l.node(tools)
	for _, step := range []func() error{
		func() error { return begin(etcd, containerd) },
		wait(etcd),
		func() error { return begin(server) },
		wait(containerd),
		func() error { return l.load(ctx, images, func(string, ...any) {}) },
		wait(server),
		func() error { return begin(append(l.controllers(tools), kubelet, proxy)...) },
		wait(kubelet),
		// The DNS server's pod looks for the API server at once, and loses
		// seconds when the way to Services is not there yet.
		wait(proxy),
		func() error { return l.applyManifests(ctx, tools) },
		func() error { return begin(l.volumeProvisioner(tools)) },
		func() error {
			return waitFor(ctx, "the node", 2*time.Minute, func(ctx context.Context) error {
				return api.nodeIsReady(ctx, kubeletBegan)
			})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if started > 0 {
		say("node is Ready")
	}
	if err := waitFor(ctx, "in-cluster DNS", 2*time.Minute, dnsAnswers); err != nil {
		return err
	}
	if started > 0 {
		say("cluster is up")
	} else {
		say("cluster was up already")
	}
	return nil
}

// applyManifests gives the API server what the cluster is made of inside.
func (l layout) applyManifests(ctx context.Context, tools toolbox) error {
	files, err := fs.Glob(manifests, "manifests/*.yaml")
	if err != nil {
		return fmt.Errorf("listing manifests: %w", err)
	}
	var all []string
	for _, file := range files {
		data, err := manifests.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading manifests: %w", err)
		}
		all = append(all, string(data))
	}
	command := exec.CommandContext(ctx, tools.path("kubectl"), "--kubeconfig", l.kubeconfig(),
		"apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
	command.Stdin = strings.NewReader(strings.Join(all, "\n---\n"))
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("applying the cluster's manifests: %w: %s", err, lastLines(string(output), 10))
	}
	return nil
}

// lock makes one of several calls that would change the cluster go first. The
// others wait. What it returns ends it.
func (l layout) lock() (unlock func() error, err error) {
	for {
		if err := os.MkdirAll(l.root, 0o700); err != nil {
			return nil, fmt.Errorf("making the state directory: %w", err)
		}
		directory, err := os.Open(l.root)
		if err != nil {
			return nil, fmt.Errorf("locking the state directory: %w", err)
		}
		if err := syscall.Flock(int(directory.Fd()), syscall.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("locking the state directory: %w", err), directory.Close())
		}
		// The one before may have removed the directory: then the lock is on
		// something that no one else can find.
		mine, err := directory.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("locking the state directory: %w", err), directory.Close())
		}
		if there, err := os.Stat(l.root); err == nil && os.SameFile(mine, there) {
			return directory.Close, nil
		}
		if err := directory.Close(); err != nil {
			return nil, fmt.Errorf("locking the state directory: %w", err)
		}
	}
}
