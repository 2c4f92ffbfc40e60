package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kohort.dev/kohort/hack/images/image"
)

// postgres is Debian's PostgreSQL server, for the demo and the tests.
func postgres(ctx context.Context, b builder) ([]image.Entry, error) {
	if err := b.install(ctx, "postgres"); err != nil {
		return nil, err
	}
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(servers) == 0 {
		return nil, fmt.Errorf("finding PostgreSQL's server in /usr/lib/postgresql: none is there (%w)", err)
	}
	slices.Sort(servers)
	home := filepath.Dir(filepath.Dir(servers[len(servers)-1]))
	share := "/usr/share/postgresql/" + filepath.Base(home)

	var entries []image.Entry
	var linked []string // what loads shared libraries
	for _, program := range []string{"postgres", "initdb", "psql", "pg_isready"} {
		file := filepath.Join(home, "bin", program)
		entries = append(entries,
			image.Entry{Path: file, Mode: 0o755, Source: file},
			image.Entry{Path: programDirectory + "/" + program, Mode: 0o777, Link: file})
		linked = append(linked, file)
	}
	modules, err := filepath.Glob(filepath.Join(home, "lib", "*.so"))
	if err != nil {
		return nil, fmt.Errorf("listing PostgreSQL's modules: %w", err)
	}
	for _, module := range modules {
		if isLeftOut(filepath.Base(module)) {
			continue
		}
		entries = append(entries, image.Entry{Path: module, Mode: 0o644, Source: module})
		linked = append(linked, module)
	}
	data, err := tree(share, func(path string) bool { return strings.HasPrefix(path, share+"/man/") })
	if err != nil {
		return nil, fmt.Errorf("collecting PostgreSQL's data: %w", err)
	}
	entries = append(entries, data...)

	// initdb starts the server through a shell.
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		return nil, fmt.Errorf("finding the shell that initdb needs: %w", err)
	}
	entries = append(entries, image.Entry{Path: "/bin/sh", Mode: 0o755, Source: shell})
	linked = append(linked, shell)

	libraries, err := sharedLibraries(ctx, linked...)
	if err != nil {
		return nil, err
	}
	// The data directory's parent has to be there for a volume to be mounted.
	entries = append(entries, image.Entry{Path: "/var/lib/postgresql", Mode: 0o755}, image.Entry{Path: "/run/postgresql", Mode: 0o755})
	return dereference(append(entries, libraries...))
}

// isLeftOut tells which modules are not worth their libraries: the compiler of
// queries brings LLVM (120 MB), the languages bring their interpreters.
func isLeftOut(module string) bool {
	for _, prefix := range []string{"llvmjit", "plperl", "plpython", "pltcl", "bool_plperl", "hstore_pl", "jsonb_pl", "ltree_pl"} {
		if strings.HasPrefix(module, prefix) {
			return true
		}
	}
	return false
}

// dereference replaces links to files that are in no entry by the files. Some
// of Debian's data are links into directories of other packages.
func dereference(entries []image.Entry) ([]image.Entry, error) {
	there := map[string]bool{}
	for _, entry := range entries {
		there[entry.Path] = true
	}
	for i, entry := range entries {
		if entry.Link == "" {
			continue
		}
		target := entry.Link
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(entry.Path), target)
		}
		if there[target] {
			continue
		}
		real, err := filepath.EvalSymlinks(target)
		if err != nil {
			return nil, fmt.Errorf("following %s: %w", entry.Path, err)
		}
		info, err := os.Stat(real)
		if err != nil {
			return nil, fmt.Errorf("following %s: %w", entry.Path, err)
		}
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a link to the directory %s, which is not in the image", entry.Path, real)
		}
		entries[i] = image.Entry{Path: entry.Path, Mode: int64(info.Mode().Perm()), Source: real}
	}
	return entries, nil
}
