package directory

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	first, err := Take(t.Context(), path, Patience)
	if err != nil {
		t.Fatal(err)
	}

	// Who does not want to wait is told why.
	if _, err := Take(t.Context(), path, 0); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Fatalf("a second one got the directory: %v", err)
	}
	// Who is told to stop does not wait on.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, path, Patience); err == nil {
		t.Fatal("a second one got the directory")
	}

	taken := make(chan error, 1)
	go func() {
		second, err := Take(t.Context(), path, Patience)
		if err == nil {
			err = second.Release()
		}
		taken <- err
	}()
	select {
	case err := <-taken:
		t.Fatalf("the second one did not wait: %v", err)
	case <-time.After(5 * pause):
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Errorf("who waited did not get the directory: %v", err)
	}
}
