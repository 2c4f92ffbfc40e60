package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// localItems are the files below root that a file:// URL names, in the order of their names. * and ? stand for parts of a
// name. Nothing outside of root is reached, neither by .. nor by links: os.Root sees to it.
func localItems(rootPath, rawURL string) ([]item, error) {
	u, err := url.Parse(strings.ReplaceAll(rawURL, "?", "%3F")) // a ? is a pattern here, not a query
	if err != nil || u.Host != "" || u.Path == "" {
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q is not a file URL such as file:///exports/*.csv", rawURL)
	}
	pattern := strings.TrimPrefix(u.Path, "/")
	if !fs.ValidPath(pattern) {
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q must name a path inside the claim, without .. and empty parts", rawURL)
	}
	if rootPath == "" {
		return nil, run.Refuse(reasonSourceUnreachable, "the order names no directory that %s is read from", rawURL)
	}
	root, err := os.OpenRoot(rootPath)
	if err != nil {
		return nil, run.Refuse(reasonSourceUnreachable, "opening the claim's volume: %w", err)
	}
	defer func() { _ = root.Close() }()
	names, err := fs.Glob(root.FS(), strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(pattern))
	if err != nil {
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q is not a pattern: %w", rawURL, err)
	}
	slices.Sort(names)
	var items []item
	for _, name := range names {
		if info, err := root.Stat(name); err == nil && !info.Mode().IsRegular() {
			continue // a directory, or a pipe that would never end
		}
		items = append(items, localItem(rootPath, name))
	}
	if len(items) == 0 && !strings.ContainsAny(pattern, "*?") {
		return nil, run.Refuse(reasonSourceUnreachable, "there is no file %q in the claim (spec.files.url)", path.Clean("/"+pattern))
	}
	return items, nil
}

func localItem(rootPath, name string) item {
	location := (&url.URL{Scheme: "file", Path: "/" + name}).String()
	return item{url: location, open: func(context.Context) (content, error) {
		root, err := os.OpenRoot(rootPath)
		if err != nil {
			return content{}, run.Fail(reasonSourceUnreachable, "opening the claim's volume: %w", err)
		}
		defer func() { _ = root.Close() }()
		file, err := root.Open(name)
		if err != nil {
			return content{}, run.Refuse(reasonSourceUnreachable, "opening %s: %w; let the file be readable for user %d", location, withoutPath(err), os.Getuid())
		}
		info, err := file.Stat()
		if err != nil {
			_ = file.Close()
			return content{}, run.Fail(reasonSourceUnreachable, "opening %s: %w", location, withoutPath(err))
		}
		version := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
		return content{ReadCloser: file, at: file, size: info.Size(), version: version}, nil
	}}
}

// withoutPath leaves what happened: the path is in the message already.
func withoutPath(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
