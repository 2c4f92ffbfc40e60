package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kohort.dev/kohort/hack/images/image"
)

// part is a layer that comes from this machine: what is in it.
type part func(ctx context.Context, b builder) ([]image.Entry, error)

// Every image runs as this user, who owns nothing in it.
const (
	userID  = "65532"
	account = "nonroot"
)

// base is what every program may expect: a user, certificate authorities, time
// zones and a place for temporary files.
func base(ctx context.Context, b builder) ([]image.Entry, error) {
	if err := b.install(ctx, "base"); err != nil {
		return nil, err
	}
	entries := []image.Entry{
		{Path: "/etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/sbin/nologin\n" +
			account + ":x:" + userID + ":" + userID + ":" + account + ":/home/" + account + ":/sbin/nologin\n")},
		{Path: "/etc/group", Mode: 0o644, Data: []byte("root:x:0:\n" + account + ":x:" + userID + ":\n")},
		{Path: "/etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Source: "/etc/ssl/certs/ca-certificates.crt"},
		{Path: "/home/" + account, Mode: 0o755},
		{Path: "/tmp", Mode: 0o1777},
	}
	zones, err := tree("/usr/share/zoneinfo", func(path string) bool {
		// Two further copies of every zone, counted with leap seconds and without.
		return strings.HasPrefix(path, "/usr/share/zoneinfo/right/") || strings.HasPrefix(path, "/usr/share/zoneinfo/posix/")
	})
	if err != nil {
		return nil, fmt.Errorf("collecting time zones: %w", err)
	}
	return append(entries, zones...), nil
}

// chdbLibrary is where the store looks for its engine.
const chdbLibrary = "/usr/lib/kohort/libchdb.so"

// chdb is the store's engine, by far the largest layer and the one that
// changes least.
func chdb(ctx context.Context, b builder) ([]image.Entry, error) {
	library, err := b.chdbLibrary(ctx)
	if err != nil {
		return nil, err
	}
	return []image.Entry{{Path: chdbLibrary, Mode: 0o644, Source: library}}, nil
}

// chdbLibraries are the C libraries that the engine needs, and with it the
// store, which loads it.
func chdbLibraries(ctx context.Context, b builder) ([]image.Entry, error) {
	library, err := b.chdbLibrary(ctx)
	if err != nil {
		return nil, err
	}
	return sharedLibraries(ctx, library)
}

// tree returns the files and links of a directory of this machine, at the same
// place in the image, less those that skip names.
func tree(root string, skip func(path string) bool) ([]image.Entry, error) {
	var entries []image.Entry
	err := filepath.WalkDir(root, func(path string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip(path) || found.IsDir() {
			return nil // a directory comes with what is in it
		}
		entry, err := copyOf(path, found)
		if err != nil {
			return err
		}
		entries = append(entries, entry)
		return nil
	})
	return entries, err
}

// copyOf returns the entry that is like a file or link of this machine.
func copyOf(path string, found fs.DirEntry) (image.Entry, error) {
	info, err := found.Info()
	if err != nil {
		return image.Entry{}, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		return image.Entry{Path: path, Mode: 0o777, Link: target}, err
	}
	return image.Entry{Path: path, Mode: int64(info.Mode().Perm()), Source: path}, nil
}
