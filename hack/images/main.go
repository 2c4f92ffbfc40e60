// Command images builds the project's container images without a container
// engine or a registry, from Go programs and files of a Debian machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := build(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// contentTag is the value of --tag that stands for a tag made of the digest.
const contentTag = "content"

// build builds the images that args name. It writes a line per image to
// stdout, NAME DIGEST ARCHIVE, and what takes time to stderr.
func build(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("images", flag.ExitOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "`directory` for the archives, IMAGE.tar each")
	tag := flags.String("tag", "dev", "`tag` of the images; \""+contentTag+"\" makes one of each image's digest")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: images --out DIRECTORY [--tag TAG] [IMAGE…]\n\nimages: %s\n\n", strings.Join(names(), ", "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := choose(flags.Args())
	if err != nil {
		return err
	}
	if *out == "" {
		return fmt.Errorf("--out is missing: it says where the archives go")
	}
	if *tag == contentTag {
		*tag = ""
	} else if *tag == "" || strings.ContainsAny(*tag, "/:@ ") {
		return fmt.Errorf("--tag is %q, which is no tag of an image", *tag)
	}
	b, err := newBuilder(*out)
	if err != nil {
		return err
	}
	for _, d := range wanted {
		began := time.Now()
		r, err := b.build(ctx, d, *tag)
		if err != nil {
			return err
		}
		did := "unchanged"
		if r.written {
			did = "built"
		}
		fmt.Fprintf(stderr, "[%6.1fs] %s %s\n", time.Since(began).Seconds(), did, r.name)
		fmt.Fprintln(stdout, r.name, r.digest, r.archive)
	}
	return nil
}

func names() []string {
	var all []string
	for _, d := range definitions() {
		all = append(all, d.name)
	}
	return all
}

// choose returns the definitions of the named images, all when none is named.
func choose(wanted []string) ([]definition, error) {
	if len(wanted) == 0 {
		return definitions(), nil
	}
	var chosen []definition
	for _, name := range wanted {
		at := slices.IndexFunc(definitions(), func(d definition) bool { return d.name == name })
		if at < 0 {
			return nil, fmt.Errorf("there is no image %q: %s are", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, definitions()[at])
	}
	return chosen, nil
}

// newBuilder returns the builder of the repository that this program's source
// is in, which the script images says.
func newBuilder(out string) (builder, error) {
	module := os.Getenv("KOHORT_MODULE_DIR")
	if module == "" {
		module = "."
	}
	root, err := filepath.Abs(filepath.Join(module, "..", ".."))
	if err != nil {
		return builder{}, fmt.Errorf("finding the repository: %w", err)
	}
	cache := os.Getenv("KOHORT_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return builder{}, fmt.Errorf("finding a cache directory: %w (set KOHORT_CACHE)", err)
		}
		cache = filepath.Join(user, "kohort")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return builder{}, fmt.Errorf("finding the cache directory: %w", err)
	}
	if out, err = filepath.Abs(out); err != nil {
		return builder{}, fmt.Errorf("finding the directory for archives: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return builder{}, fmt.Errorf("making the directory for archives: %w", err)
	}
	return builder{root: root, cache: cache, out: out}, nil
}
