package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"kohort.dev/kohort/hack/images/image"
)

// programDirectory is where programs are in an image.
const programDirectory = "/usr/local/bin"

// environment is what distroless images, which the Dockerfile is based on, have.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
	}
}

// builder builds images of the repository in root.
type builder struct {
	root  string // of the repository
	cache string // where compiled programs are kept
	out   string // where archives go
}

// result is an image that was built.
type result struct {
	name    string // repository:tag
	digest  string
	archive string // its file
	written bool   // false when the file held this image already
}

// build builds one image and writes its archive. An empty tag stands for one
// made of the image's digest.
func (b builder) build(ctx context.Context, d definition, tag string) (result, error) {
	programs, err := b.compile(ctx, d)
	if err != nil {
		return result{}, fmt.Errorf("building image %s: %w", d.name, err)
	}
	var layers []*image.Layer
	for _, part := range d.parts {
		entries, err := part(ctx, b)
		if err != nil {
			return result{}, fmt.Errorf("building image %s: %w", d.name, err)
		}
		layer, err := image.NewLayer(entries)
		if err != nil {
			return result{}, fmt.Errorf("building image %s: %w", d.name, err)
		}
		layers = append(layers, layer)
	}
	for _, program := range programs {
		layer, err := image.NewLayer([]image.Entry{{
			Path: programDirectory + "/" + filepath.Base(program), Mode: 0o755, Source: program,
		}})
		if err != nil {
			return result{}, fmt.Errorf("building image %s: %w", d.name, err)
		}
		layers = append(layers, layer)
	}
	img, err := image.Build(image.Spec{
		Architecture: runtime.GOARCH,
		Layers:       layers,
		Entrypoint:   d.entrypoint,
		Env:          append(environment(), d.env...),
		User:         userID + ":" + userID,
		WorkingDir:   "/home/" + account,
		StopSignal:   d.stopSignal,
	})
	if err != nil {
		return result{}, fmt.Errorf("building image %s: %w", d.name, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return result{}, fmt.Errorf("building image %s: %w", d.name, err)
	}
	if tag == "" {
		// Twelve digits tell images of one developer's machine apart.
		tag = digest.Hex[:12]
	}
	r := result{
		name:    repository + "/" + d.name + ":" + tag,
		digest:  digest.String(),
		archive: filepath.Join(b.out, d.name+".tar"),
	}
	r.written, err = image.WriteArchive(r.archive, r.name, img)
	return r, err
}

// compile builds an image's programs and returns their files, sorted by name.
func (b builder) compile(ctx context.Context, d definition) ([]string, error) {
	bin := filepath.Join(b.cache, "images", "bin", d.name)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, fmt.Errorf("making a directory for programs: %w", err)
	}
	var programs []string
	for _, pattern := range d.programs {
		module, err := b.moduleOf(pattern)
		if err != nil {
			return nil, err
		}
		packages, err := b.mains(ctx, module, pattern)
		if err != nil {
			return nil, err
		}
		args := append([]string{"-C", module, "build", "-ldflags", "-s -w", "-o", bin + "/"}, packages...)
		if _, err := b.golang(ctx, args...); err != nil {
			return nil, fmt.Errorf("compiling %s: %w", pattern, err)
		}
		for _, pkg := range packages {
			programs = append(programs, filepath.Join(bin, filepath.Base(pkg)))
		}
	}
	slices.Sort(programs)
	return programs, nil
}

// moduleOf returns the directory of the module that a package is in.
func (b builder) moduleOf(pattern string) (string, error) {
	directory := filepath.Join(b.root, strings.TrimSuffix(pattern, "/..."))
	if _, err := os.Stat(directory); err != nil {
		return "", fmt.Errorf("finding %s: %w", pattern, err)
	}
	for ; len(directory) >= len(b.root); directory = filepath.Dir(directory) {
		if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
			return directory, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("finding the module of %s: %w", pattern, err)
		}
	}
	return "", fmt.Errorf("%s is in no module below %s", pattern, b.root)
}

// mains returns the import paths of the main packages that a pattern names.
func (b builder) mains(ctx context.Context, module, pattern string) ([]string, error) {
	relative, err := filepath.Rel(module, filepath.Join(b.root, pattern))
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", pattern, err)
	}
	output, err := b.golang(ctx, "-C", module, "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./"+relative)
	if err != nil {
		return nil, fmt.Errorf("finding the programs of %s: %w", pattern, err)
	}
	packages := strings.Fields(output)
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s holds no program: no package there is named main", pattern)
	}
	return packages, nil
}

// golang runs the go command with the flags of every build of this project.
func (b builder) golang(ctx context.Context, args ...string) (string, error) {
	env := []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOWORK=off"}
	return run(ctx, env, "go", args...)
}

// install installs what a group of packages needs of this machine.
func (b builder) install(ctx context.Context, group string) error {
	_, err := run(ctx, nil, filepath.Join(b.root, "hack", "lib", "host.sh"), group)
	return err
}

// chdbLibrary fetches libchdb.so and returns its path.
func (b builder) chdbLibrary(ctx context.Context) (string, error) {
	output, err := run(ctx, nil, filepath.Join(b.root, "hack", "lib", "chdb.sh"))
	return strings.TrimSpace(output), err
}

// run runs a program to its end and returns its standard output.
func run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", filepath.Base(name), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
