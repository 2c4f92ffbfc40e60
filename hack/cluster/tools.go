package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Versions of what is built: those that binaries/*/go.mod pin, which a test
// compares.
const (
	kubernetesVersion = "v1.37.2"
	etcdVersion       = "v3.7.3"
	corednsVersion    = "v1.15.0"
)

// tool is a program that is built from a Go module.
type tool struct {
	name    string // of the program
	module  string // directory under binaries that pins it
	pkg     string // the main package
	version string // what its file is kept under
	ldflags string
}

// tools returns every program, in the order of their need. A program of this
// project's own is kept under volumesDigest, the digest of its source.
func tools(volumesDigest string) []tool {
	const strip = "-s -w"
	// Without these the API server reports v0.0.0-master, which Helm and
	// others that parse the version refuse.
	stamp := strip
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		major, minor, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
		minor, _, _ = strings.Cut(minor, ".")
		stamp += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
			pkg, kubernetesVersion, major, minor)
	}
	all := []tool{{name: "etcd", module: "etcd", pkg: "go.etcd.io/etcd/server/v3", version: "etcd-" + etcdVersion, ldflags: strip}}
	for _, name := range []string{"kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		all = append(all, tool{name: name, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/" + name, version: "kubernetes-" + kubernetesVersion, ldflags: stamp})
	}
	return append(all,
		tool{name: "local-volumes", module: "kubernetes", pkg: "./local-volumes", version: "local-volumes-" + volumesDigest, ldflags: strip},
		tool{name: "coredns", module: "coredns", pkg: "github.com/coredns/coredns", version: "coredns-" + corednsVersion, ldflags: strip},
	)
}

// envtestTools are what a test with a real API server needs.
func envtestTools() []string { return []string{"etcd", "kube-apiserver", "kubectl"} }

// toolbox finds and builds tools.
type toolbox struct {
	source string // directory of this program's source
	cache  string // where built programs are kept
	tools  []tool
	say    func(format string, args ...any)
}

// newToolbox returns the tools whose source is in a directory.
func newToolbox(source, cache string, say func(format string, args ...any)) (toolbox, error) {
	digest := sha256.New()
	for _, file := range []string{"go.mod", "local-volumes/main.go"} {
		data, err := os.ReadFile(filepath.Join(source, "binaries", "kubernetes", file))
		if err != nil {
			return toolbox{}, fmt.Errorf("reading the source of local-volumes: %w", err)
		}
		digest.Write(data)
	}
	short := hex.EncodeToString(digest.Sum(nil))[:12]
	return toolbox{source: source, cache: cache, tools: tools(short), say: say}, nil
}

// path returns where the program of a tool is.
func (b toolbox) path(name string) string {
	for _, t := range b.tools {
		if t.name == name {
			return b.pathOf(t)
		}
	}
	panic("no tool is named " + name)
}

func (b toolbox) pathOf(t tool) string { return filepath.Join(b.cache, "tools", t.version, t.name) }

// build builds the named tools, all when none is named, unless they are there.
// Those of one module are built at once, so that linking one overlaps with
// compiling the next.
func (b toolbox) build(ctx context.Context, names ...string) error {
	for _, name := range names {
		if !slices.ContainsFunc(b.tools, func(t tool) bool { return t.name == name }) {
			return fmt.Errorf("no tool is named %q", name)
		}
	}
	missing := map[group][]tool{}
	var order []group
	for _, t := range b.tools {
		if len(names) > 0 && !slices.Contains(names, t.name) {
			continue
		}
		if _, err := os.Stat(b.pathOf(t)); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("looking for %s: %w", t.name, err)
		}
		g := group{module: t.module, version: t.version, ldflags: t.ldflags}
		if missing[g] == nil {
			order = append(order, g)
		}
		missing[g] = append(missing[g], t)
	}
	for _, g := range order {
		if err := b.buildGroup(ctx, g, missing[g]); err != nil {
			return err
		}
	}
	return nil
}

// group is what tools that are built at once have in common.
type group struct{ module, version, ldflags string }

func (b toolbox) buildGroup(ctx context.Context, g group, tools []tool) error {
	var names, packages []string
	for _, t := range tools {
		names = append(names, t.name)
		packages = append(packages, t.pkg)
	}
	b.say("building %s: %s (minutes, the first time)", g.version, strings.Join(names, ", "))
	directory := filepath.Join(b.cache, "tools", g.version)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fmt.Errorf("making the directory for %s: %w", g.version, err)
	}
	// Programs appear whole or not at all, for a later call takes what is
	// there as finished.
	partial, err := os.MkdirTemp(directory, ".partial-*")
	if err != nil {
		return fmt.Errorf("making the directory for %s: %w", g.version, err)
	}
	built := goBuild(ctx, filepath.Join(b.source, "binaries", g.module), g.ldflags, partial+"/", packages...)
	for _, t := range tools {
		if built == nil {
			// Go names a program after its package's path, less a version.
			built = os.Rename(filepath.Join(partial, programName(t.pkg)), b.pathOf(t))
		}
	}
	if err := errors.Join(built, os.RemoveAll(partial)); err != nil {
		return fmt.Errorf("building %s: %w", g.version, err)
	}
	return nil
}

// programName returns what Go calls the program of a main package.
func programName(pkg string) string {
	last := path.Base(pkg)
	if strings.HasPrefix(last, "v") && strings.Trim(last[1:], "0123456789") == "" {
		return path.Base(path.Dir(pkg))
	}
	return last
}

// goBuild builds main packages of the module in a directory. The flags are
// those of every build of this project, so that all share one build cache; the
// programs are for Linux, where alone they run.
func goBuild(ctx context.Context, directory, ldflags, to string, packages ...string) error {
	env := []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOWORK=off"}
	args := append([]string{"-C", directory, "build", "-ldflags", ldflags, "-o", to}, packages...)
	_, err := runWith(ctx, env, "go", args...)
	return err
}

// envtest returns a directory that holds etcd, kube-apiserver and kubectl, as
// KUBEBUILDER_ASSETS wants it: the one which that variable names, or one with
// the programs built here.
func (b toolbox) envtest(ctx context.Context) (string, error) {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		for _, name := range envtestTools() {
			if _, err := os.Stat(filepath.Join(assets, name)); err != nil {
				return "", fmt.Errorf("KUBEBUILDER_ASSETS is %s, which has no %s: unset it, or name a directory with %s", assets, name, strings.Join(envtestTools(), ", "))
			}
		}
		return assets, nil
	}
	if err := b.build(ctx, envtestTools()...); err != nil {
		return "", err
	}
	dir := filepath.Join(b.cache, "tools", "envtest-"+kubernetesVersion+"-etcd-"+etcdVersion)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the directory for envtest: %w", err)
	}
	for _, name := range envtestTools() {
		link := filepath.Join(dir, name)
		if target, err := os.Readlink(link); err == nil && target == b.path(name) {
			continue
		}
		if err := removeIfThere(link); err != nil {
			return "", fmt.Errorf("replacing a link for envtest: %w", err)
		}
		// Another call may have made the same link just now, which will do.
		if err := os.Symlink(b.path(name), link); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("linking %s for envtest: %w", name, err)
		}
	}
	return dir, nil
}

// removeIfThere removes a file, if there is one.
func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
