package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// requirement is a program of the machine and the Debian package it comes in.
type requirement struct {
	program string
	pkg     string
}

// requirements are what the cluster takes from the machine.
func requirements() []requirement {
	return []requirement{
		{"containerd", "containerd"},
		{"ctr", "containerd"},
		{"runc", "runc"},
		{filepath.Join(cniPluginsDir, "bridge"), "containernetworking-plugins"},
		{"iptables", "iptables"},
		{"ip", "iproute2"},
		{"socat", "socat"}, // kubectl port-forward
		{"mount", "mount"},
		{"nsenter", "util-linux"},
	}
}

// installPackages installs the Debian packages whose programs are missing.
func installPackages(ctx context.Context, say func(string, ...any)) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("programs of these Debian packages are missing, and there is no apt-get to install them: %s", strings.Join(missing, " "))
	}
	say("installing Debian packages: %s", strings.Join(missing, " "))
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)
	env := []string{"DEBIAN_FRONTEND=noninteractive"}
	if _, err := runWith(ctx, env, "apt-get", install...); err != nil {
		// The package lists of a fresh machine are empty or old.
		if _, updateErr := runWith(ctx, env, "apt-get", "update", "-q"); updateErr != nil {
			return errors.Join(err, updateErr)
		}
		if _, err := runWith(ctx, env, "apt-get", install...); err != nil {
			return fmt.Errorf("installing Debian packages: %w", err)
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("these Debian packages were installed, but their programs are not found: %s", strings.Join(still, " "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, r := range requirements() {
		if !isThere(r.program) && !slices.Contains(missing, r.pkg) {
			missing = append(missing, r.pkg)
		}
	}
	return missing
}

// isThere looks for a program in PATH, and in the directories of the
// administrator's programs, which some users' PATH lacks.
func isThere(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}
