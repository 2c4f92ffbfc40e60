package memory

import (
	"testing"
	"testing/fstest"
)

func TestAvailable(t *testing.T) {
	meminfo := &fstest.MapFile{Data: []byte("MemTotal:       16384 kB\nMemFree: 1 kB\n")}
	for _, c := range []struct {
		why  string
		root fstest.MapFS
		want uint64
	}{
		{"no limit at all", fstest.MapFS{}, 16 << 20},
		{"cgroup v2", fstest.MapFS{"sys/fs/cgroup/memory.max": {Data: []byte("1048576\n")}}, 1 << 20},
		{"cgroup v2 without a limit", fstest.MapFS{"sys/fs/cgroup/memory.max": {Data: []byte("max\n")}}, 16 << 20},
		{"cgroup v1", fstest.MapFS{"sys/fs/cgroup/memory/memory.limit_in_bytes": {Data: []byte("2097152\n")}}, 2 << 20},
		{"cgroup v1 without a limit says so with a huge number", fstest.MapFS{"sys/fs/cgroup/memory/memory.limit_in_bytes": {Data: []byte("9223372036854771712\n")}}, 16 << 20},
	} {
		c.root["proc/meminfo"] = meminfo
		if got, err := Available(c.root); err != nil || got != c.want {
			t.Errorf("%s: %d bytes and error %v, want %d", c.why, got, err, c.want)
		}
	}
	if _, err := Available(fstest.MapFS{}); err == nil {
		t.Error("a machine without /proc gave no error")
	}
}
