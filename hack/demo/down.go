package main

import (
	"context"
	"os"
	"path/filepath"

	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/manifests"
)

// down takes the demo away, with its cluster when the demo made it.
func (d *demo) down(ctx context.Context) error {
	d.progress.say("taking away %s", d.cluster.describe())
	kept, err := d.cluster.down(ctx, d)
	if err != nil {
		return err
	}
	if kept {
		if err := d.uninstall(ctx); err != nil {
			return err
		}
	}
	// Image archives are half a gigabyte, and the cluster that they were for is gone.
	if err := os.RemoveAll(filepath.Join(d.root, "out", "images")); err != nil {
		return err
	}
	d.progress.say("done; only caches of compiled programs are left (KOHORT_CACHE and Go's own)")
	return nil
}

// uninstall takes the demo out of a cluster that stays. The order matters: while the operator runs it takes members out of
// destinations, which lets Audiences go.
func (d *demo) uninstall(ctx context.Context) error {
	kubeconfig, program, err := d.cluster.up(ctx, d)
	if err != nil {
		return err
	}
	k := kubectl.Kubectl{Program: program, Kubeconfig: kubeconfig}
	if there, err := k.Exists(ctx, "crd", "audiences.kohort.dev"); err != nil {
		return err
	} else if there {
		if _, err := k.In(manifests.Namespace).Run(ctx, "delete", "audiences", "--all", "--ignore-not-found", "--timeout=3m"); err != nil {
			return err
		}
	}
	if _, err := k.Run(ctx, "delete", "namespace", manifests.Namespace, "--ignore-not-found", "--timeout=3m"); err != nil {
		return err
	}
	if _, err := k.Run(ctx, "delete", "namespace", operatorNamespace, "--ignore-not-found", "--timeout=3m"); err != nil {
		return err
	}
	// What the chart made outside its namespace has its name on it.
	if _, err := k.Run(ctx, "delete", "clusterroles,clusterrolebindings,customresourcedefinitions",
		"--selector", "app.kubernetes.io/name=kohort", "--ignore-not-found"); err != nil {
		return err
	}
	_, err = k.Run(ctx, "delete", "crd", "--ignore-not-found", "platforms.kohort.dev", "sources.kohort.dev", "audiences.kohort.dev",
		"destinations.kohort.dev", "syncs.kohort.dev", "retentionpolicies.kohort.dev")
	return err
}
