package warehouse

import (
	"os"
	"strings"
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
		if got, err := available(c.root); err != nil || got != c.want {
			t.Errorf("%s: %d bytes and error %v, want %d", c.why, got, err, c.want)
		}
	}
	if _, err := available(fstest.MapFS{}); err == nil {
		t.Error("a machine without /proc gave no error")
	}
}

func TestEngineConf(t *testing.T) {
	dir := t.TempDir()
	path, err := engineConf{Memory: 1000 << 20, Cores: 3, Backups: "/b&c"}.write(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	users, err := os.ReadFile(dir + "/users.xml")
	if err != nil {
		t.Fatal(err)
	}
	for text, in := range map[string]string{
		"<max_server_memory_usage>1048576000</max_server_memory_usage>":                      string(server),
		"<mark_cache_size>131072000</mark_cache_size>":                                       string(server), // an eighth, when that is less than 128 MiB
		"<background_pool_size>3</background_pool_size>":                                     string(server),
		"<fsync_after_insert>1</fsync_after_insert>":                                         string(server),
		"<fsync_part_directory>1</fsync_part_directory>":                                     string(server),
		"<table_engines_require_grant>true</table_engines_require_grant>":                    string(server),
		"<allowed_path>/b&amp;c</allowed_path>":                                              string(server),
		"<max_memory_usage>838860800</max_memory_usage>":                                     string(users),
		"<max_bytes_before_external_group_by>419430400</max_bytes_before_external_group_by>": string(users),
		"<query>GRANT ": string(users),
	} {
		if !strings.Contains(in, text) {
			t.Errorf("the configuration lacks %s", text)
		}
	}
	if strings.Contains(string(users), "SOURCES") {
		t.Error("the engine's user may read files and other servers")
	}
}
