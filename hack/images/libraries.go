package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"kohort.dev/kohort/hack/images/image"
)

// sharedLibraries returns the dynamic linker and every shared library that
// programs or libraries of this machine load, each at the place where they
// look for it.
func sharedLibraries(ctx context.Context, files ...string) ([]image.Entry, error) {
	var all []string
	for _, file := range files {
		command := exec.CommandContext(ctx, "ldd", file)
		var stderr bytes.Buffer
		command.Stderr = &stderr
		output, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("listing the libraries of %s: %w: %s", file, err, strings.TrimSpace(stderr.String()))
		}
		libraries, err := parseLDD(string(output))
		if err != nil {
			return nil, fmt.Errorf("listing the libraries of %s: %w", file, err)
		}
		all = append(all, libraries...)
	}
	slices.Sort(all)
	var entries []image.Entry
	for _, library := range slices.Compact(all) {
		// The path may be a link to the library's real name, which nothing
		// asks for: the file itself goes there.
		entries = append(entries, image.Entry{Path: library, Mode: 0o755, Source: library})
	}
	return entries, nil
}

// parseLDD returns the paths in the output of ldd(1).
func parseLDD(output string) ([]string, error) {
	var paths []string
	for line := range strings.Lines(output) {
		name, target, arrow := strings.Cut(strings.TrimSpace(line), " => ")
		if !arrow {
			target = name
		}
		target, _, _ = strings.Cut(target, " (")
		switch {
		case target == "not found":
			return nil, fmt.Errorf("%s is not found on this machine: install the package that it comes in", name)
		case strings.HasPrefix(target, "/"):
			paths = append(paths, target)
		}
	}
	return paths, nil
}
