package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// e2e prepares the cluster and runs the end-to-end tests against it.
func (d *demo) e2e(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		d.diagnose(ctx)
		return err
	}
	d.progress.say("running the end-to-end tests")
	args := []string{"test", "-tags", "e2e", "-count=1", "-timeout", "30m", "-v"}
	if only := os.Getenv("E2E_RUN"); only != "" {
		args = append(args, "-run", only)
	}
	command := exec.CommandContext(ctx, "go", append(args, "./test/e2e/...")...)
	command.Dir = d.root
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "KUBECONFIG="+d.kubectl.Kubeconfig, "KOHORT_KUBECTL="+d.kubectl.Program)
	for repository, reference := range d.images {
		switch filepath.Base(repository) {
		case "kohort-demo":
			command.Env = append(command.Env, "KOHORT_DEMO_IMAGE="+reference)
		case "kohort-postgres":
			command.Env = append(command.Env, "KOHORT_POSTGRES_IMAGE="+reference)
		}
	}
	if err := command.Run(); err != nil {
		d.diagnose(ctx)
		return err
	}
	return nil
}
