// Package disk knows how much room a volume has.
package disk

import (
	"fmt"
	"syscall"
)

// Usage is the state of the volume that holds a directory, in bytes. Free
// counts what an unprivileged process may still write.
type Usage struct {
	Total, Free uint64
}

// Of reads the usage of the volume that holds dir.
func Of(dir string) (Usage, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Usage{}, fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	block := uint64(s.Bsize)
	return Usage{Total: s.Blocks * block, Free: s.Bavail * block}, nil
}

// Bounds of the default floor: below 64 MiB the engine cannot write even its
// own small parts; above 4 GiB more reserve does not help a merge.
const (
	minFloor = 64 << 20
	maxFloor = 4 << 30
)

// Floor is the free space under which the store takes no more rows: a
// twentieth of the volume, within 64 MiB and 4 GiB. What remains is for
// merges, mutations and deletions, which must go on when the disk is full.
func (u Usage) Floor() uint64 {
	return min(max(u.Total/20, minFloor), maxFloor)
}

// Full is the error for a volume with less than its floor free.
type Full struct {
	Dir   string
	Free  uint64
	Floor uint64
}

// Error says how much is free, how much must be, and what to do.
func (f *Full) Error() string {
	return fmt.Sprintf("the disk of %s is full: %d MiB free, %d MiB needed; grow the volume or delete data, writing resumes by itself",
		f.Dir, f.Free>>20, f.Floor>>20)
}

// Check returns a *[Full] when the volume of dir has less than floor bytes
// free; a floor of 0 means the default one.
func Check(dir string, floor uint64) error {
	u, err := Of(dir)
	if err != nil {
		return err
	}
	if floor == 0 {
		floor = u.Floor()
	}
	if u.Free < floor {
		return &Full{Dir: dir, Free: u.Free, Floor: floor}
	}
	return nil
}
