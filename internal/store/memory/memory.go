// Package memory knows how much memory a container may use.
package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Memory limits in the files of cgroup v2 and v1, below the root of the file
// system. A container sees its own group there.
var limitFiles = [...]string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}

// Available returns how many bytes this process may use: the container's
// limit, or the machine's memory when that is less or there is none. Root is
// the root of the file system.
func Available(root fs.FS) (uint64, error) {
	total, err := machine(root)
	if err != nil {
		return 0, err
	}
	for _, name := range limitFiles {
		raw, err := fs.ReadFile(root, name)
		if err != nil {
			continue // the other version of cgroups, or none
		}
		// "max" is not a number, and means no limit.
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err == nil && limit > 0 {
			return min(limit, total), nil
		}
	}
	return total, nil
}

func machine(root fs.FS) (uint64, error) {
	raw, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's memory: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the machine's memory: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("reading the machine's memory: /proc/meminfo has no MemTotal")
}
