package warehouse

import (
	"os"
	"strings"
	"testing"
)

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
		"<keep_free_space_bytes>16777216</keep_free_space_bytes>":                            string(server),
		"<auto_statistics_types></auto_statistics_types>":                                    string(server),
		"<fsync_part_directory>1</fsync_part_directory>":                                     string(server),
		"<table_engines_require_grant>true</table_engines_require_grant>":                    string(server),
		"<allowed_path>/b&amp;c</allowed_path>":                                              string(server),
		"<max_memory_usage>838860800</max_memory_usage>":                                     string(users),
		"<max_bytes_before_external_group_by>419430400</max_bytes_before_external_group_by>": string(users),
		"<query>GRANT SHOW, SELECT":                                                          string(users),
	} {
		if !strings.Contains(in, text) {
			t.Errorf("the configuration lacks %s", text)
		}
	}
	if strings.Contains(string(users), "SOURCES") {
		t.Error("the engine's user may read files and other servers")
	}
}
