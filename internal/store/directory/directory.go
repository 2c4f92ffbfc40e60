// Package directory keeps a data directory to one process at a time.
//
// Two of them can meet. Who deletes a pod of a StatefulSet by force gets the next one before the last one's processes have
// ended, on the same volume; clients of the old process are still connected, and what it acknowledges then would be
// overwritten by the new one, which has read the directory already.
package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockFile in a directory is locked by the process that uses it. The lock ends with the process, however that ends.
const lockFile = "kohort.lock"

// Patience is how long Take waits for another process to end. A kubelet kills what is left of a pod deleted by force
// within seconds.
const Patience = time.Minute

// pause between two looks at the lock.
const pause = 100 * time.Millisecond

// Held is a directory that this process alone uses.
type Held struct{ lock *os.File }

// Take makes a directory and keeps every other process out. While another one has it, Take waits: until that one has
// ended, for patience at most, or until ctx ends.
func Take(ctx context.Context, path string, patience time.Duration) (*Held, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory %s: %w", path, err)
	}
	if err := await(ctx, lock, patience); err != nil {
		return nil, errors.Join(fmt.Errorf("locking the data directory %s, which another process uses: %w", path, err), lock.Close())
	}
	return &Held{lock: lock}, nil
}

func await(ctx context.Context, lock *os.File, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// Release lets another process in.
func (h *Held) Release() error {
	if err := h.lock.Close(); err != nil {
		return fmt.Errorf("unlocking the data directory: %w", err)
	}
	return nil
}
