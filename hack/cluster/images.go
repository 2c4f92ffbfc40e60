package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"kohort.dev/kohort/hack/images/image"
)

// systemImages builds the images that the cluster itself runs and returns
// their archives.
func systemImages(ctx context.Context, tools toolbox) ([]string, error) {
	pause := filepath.Join(tools.cache, "tools", "pause", "pause")
	// Its source is this project's, so it is built each time: Go's cache
	// knows whether there is anything to do.
	if err := goBuild(ctx, filepath.Join(tools.source, "pause"), "-s -w", pause, "."); err != nil {
		return nil, fmt.Errorf("building the pause program: %w", err)
	}
	var archives []string
	for name, program := range map[string]string{
		pauseImage:                             pause,
		"kohort.dev/coredns:" + corednsVersion: tools.path("coredns"),
	} {
		archive, err := programArchive(tools, name, program)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// programArchive makes an image of one static program, unless there is one
// that is newer than the program.
func programArchive(tools toolbox, name, program string) (string, error) {
	file := filepath.Base(program)
	archive := filepath.Join(tools.cache, "images", strings.NewReplacer("/", "-", ":", "-").Replace(name)+".tar")
	built, err := os.Stat(program)
	if err != nil {
		return "", fmt.Errorf("building image %s: %w", name, err)
	}
	if old, err := os.Stat(archive); err == nil && old.ModTime().After(built.ModTime()) {
		return archive, nil
	}
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return "", fmt.Errorf("building image %s: %w", name, err)
	}
	layer, err := image.NewLayer([]image.Entry{{Path: "/" + file, Mode: 0o755, Source: program}})
	if err != nil {
		return "", fmt.Errorf("building image %s: %w", name, err)
	}
	img, err := image.Build(image.Spec{
		Architecture: runtime.GOARCH,
		Layers:       []*image.Layer{layer},
		Entrypoint:   []string{"/" + file},
		User:         "65532:65532",
	})
	if err != nil {
		return "", fmt.Errorf("building image %s: %w", name, err)
	}
	if _, err := image.WriteArchive(archive, name, img); err != nil {
		return "", err
	}
	return archive, nil
}

// load gives containerd the images of the archives. It passes only what
// containerd lacks: nothing when it has the image, and not the layers that it
// knows from another one.
func (l layout) load(ctx context.Context, archives []string, say func(string, ...any)) error {
	names, err := l.imageNames(ctx)
	if err != nil {
		return err
	}
	for _, file := range archives {
		archive, err := image.OpenArchive(file)
		if err != nil {
			return err
		}
		if names[archive.Name] == archive.Digest {
			say("image %s is loaded already", archive.Name)
			err = nil
		} else if err = l.importArchive(ctx, archive); err == nil {
			say("loaded image %s", archive.Name)
		}
		if err := errors.Join(err, archive.Close()); err != nil {
			return fmt.Errorf("loading %s: %w", file, err)
		}
	}
	return nil
}

// imageNames returns the digest of each image that containerd has.
func (l layout) imageNames(ctx context.Context) (map[string]string, error) {
	listing, err := l.ctr(ctx, "images", "ls")
	if err != nil {
		return nil, fmt.Errorf("listing the cluster's images (the command status tells whether it is up): %w", err)
	}
	digests := map[string]string{}
	for line := range strings.Lines(listing) {
		// REF TYPE DIGEST SIZE PLATFORMS LABELS
		if fields := strings.Fields(line); len(fields) > 2 {
			digests[fields[0]] = fields[2]
		}
	}
	return digests, nil
}

func (l layout) importArchive(ctx context.Context, archive *image.Archive) error {
	listing, err := l.ctr(ctx, "content", "ls", "--quiet")
	if err != nil {
		return fmt.Errorf("listing what containerd has: %w", err)
	}
	held := map[string]bool{}
	for _, digest := range strings.Fields(listing) {
		held[digest] = true
	}
	command := exec.CommandContext(ctx, "ctr", l.ctrArguments("images", "import", "-")...)
	var stderr strings.Builder
	command.Stderr = &stderr
	input, err := command.StdinPipe()
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	copyErr := errors.Join(archive.CopyWithout(input, func(digest string) bool { return held[digest] }), input.Close())
	if err := command.Wait(); err != nil {
		return fmt.Errorf("importing: %w: %s", err, lastLines(stderr.String(), 5))
	}
	return copyErr
}
