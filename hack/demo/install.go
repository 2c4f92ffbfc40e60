package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/manifests"
	"kohort.dev/kohort/test/demo/world"
)

// demo is one run of this program.
type demo struct {
	root     string // of the repository
	cluster  cluster
	progress *progress

	kubectl kubectl.Kubectl   // once the cluster is up
	images  map[string]string // reference by repository, once they are built
}

// operatorNamespace is where the chart is installed.
const operatorNamespace = "kohort-system"

// prepare brings up the cluster with Kohort in it.
func (d *demo) prepare(ctx context.Context) error {
	d.progress.say("bringing up %s", d.cluster.describe())
	kubeconfig, program, err := d.cluster.up(ctx, d)
	if err != nil {
		return err
	}
	d.kubectl = kubectl.Kubectl{Program: program, Kubeconfig: kubeconfig}
	archives, err := d.buildImages(ctx)
	if err != nil {
		return err
	}
	d.progress.say("loading the images into %s", d.cluster.describe())
	if err := d.cluster.load(ctx, d, archives); err != nil {
		return err
	}
	return d.installChart(ctx)
}

// buildImages builds every image and returns their archives. Each is tagged by its content, so that a pod is replaced
// exactly when its image changed.
func (d *demo) buildImages(ctx context.Context) ([]string, error) {
	d.progress.say("building Kohort's images")
	out, err := d.output(ctx, filepath.Join(d.root, "hack", "images", "images"), "--out", filepath.Join(d.root, "out", "images"), "--tag", "content")
	if err != nil {
		return nil, err
	}
	var archives []string
	d.images = map[string]string{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line) // name, digest, archive
		if len(fields) != 3 {
			return nil, fmt.Errorf("reading what hack/images built: %q is not NAME DIGEST ARCHIVE", line)
		}
		repository, _, tagged := strings.Cut(fields[0], ":")
		if !tagged {
			return nil, fmt.Errorf("reading what hack/images built: %q has no tag", fields[0])
		}
		d.images[repository] = fields[0]
		archives = append(archives, fields[2])
	}
	return archives, nil
}

// installChart installs or upgrades the operator.
func (d *demo) installChart(ctx context.Context) error {
	helm, err := d.output(ctx, "make", "--silent", "--no-print-directory", "helm")
	if err != nil {
		return err
	}
	d.progress.say("installing the chart charts/kohort into namespace %s", operatorNamespace)
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + operatorNamespace +
		"\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
	if err := d.kubectl.Apply(ctx, []byte(namespace)); err != nil {
		return err
	}
	args := []string{"upgrade", "--install", "kohort", filepath.Join(d.root, "charts", "kohort"),
		"--kubeconfig", d.kubectl.Kubeconfig, "--namespace", operatorNamespace}
	for _, name := range []string{"kohort", "kohort-connector", "kohort-store"} {
		_, tag, _ := strings.Cut(d.images["kohort.dev/"+name], ":")
		args = append(args, "--set-string", "image.tags."+name+"="+tag)
	}
	if err := d.quiet(ctx, helm, args...); err != nil {
		return err
	}
	return d.kubectl.In(operatorNamespace).Wait(ctx, "condition=Available", 2*time.Minute, "deployment/kohort-operator")
}

// world is the demo's shop.
func (d *demo) world() world.World {
	return world.World{
		Kubectl: d.kubectl.In(manifests.Namespace),
		Place:   manifests.Place{Namespace: manifests.Namespace, Images: d.images},
		Say:     d.progress.say,
		Now:     time.Now,
	}
}
