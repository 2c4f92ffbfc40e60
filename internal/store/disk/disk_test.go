package disk

import (
	"errors"
	"strings"
	"testing"
)

func TestFloor(t *testing.T) {
	for _, c := range []struct {
		why         string
		total, want uint64
	}{
		{"a small volume keeps what merges need at least", 200 << 20, 64 << 20},
		{"a twentieth", 20 << 30, 1 << 30},
		{"a large volume does not need ever more", 10 << 40, 4 << 30},
	} {
		if got := (Usage{Total: c.total}).Floor(); got != c.want {
			t.Errorf("%s: the floor of %d bytes is %d, want %d", c.why, c.total, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(dir, 1); err != nil {
		t.Errorf("a disk with room: %v", err)
	}
	var full *Full
	err := Check(dir, 1<<62)
	if !errors.As(err, &full) || full.Dir != dir || !strings.Contains(err.Error(), "grow the volume") {
		t.Errorf("a disk under its floor gave %v, want an error that names the remedy", err)
	}
	if err := Check(dir+"/none", 1); err == nil || errors.As(err, &full) {
		t.Errorf("a directory that is not there gave %v, which is not a full disk", err)
	}
}
