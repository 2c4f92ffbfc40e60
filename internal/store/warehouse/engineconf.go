package warehouse

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
)

// engineConf is what the engine is told at start.
type engineConf struct {
	Memory  uint64 // bytes that the whole engine may use
	Cores   int    // threads for merges and mutations
	Backups string // directory that BACKUP may write to; empty: none
}

// write puts the engine's two files into dir and returns the first one's path.
func (c engineConf) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a directory for the engine's configuration: %w", err)
	}
	server, users := filepath.Join(dir, "config.xml"), filepath.Join(dir, "users.xml")
	for path, value := range map[string]any{server: c.server(users), users: c.users()} {
		raw, err := xml.MarshalIndent(value, "", "  ")
		if err != nil {
			return "", fmt.Errorf("encoding the engine's configuration: %w", err)
		}
		if err := os.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
			return "", fmt.Errorf("writing the engine's configuration: %w", err)
		}
	}
	return server, nil
}

type serverXML struct {
	XMLName      xml.Name `xml:"clickhouse"`
	UsersConfig  string   `xml:"users_config"`
	ServerMemory uint64   `xml:"max_server_memory_usage"`
	MarkCache    uint64   `xml:"mark_cache_size"`
	Uncompressed uint64   `xml:"uncompressed_cache_size"`
	MergePool    int      `xml:"background_pool_size"`
	SchedulePool int      `xml:"background_schedule_pool_size"`
	CleaningPool int      `xml:"max_parts_cleaning_thread_pool_size"`
	BackupsPath  string   `xml:"backups>allowed_path,omitempty"`
	EngineGrants bool     `xml:"access_control_improvements>table_engines_require_grant"`
	KeepFree     uint64   `xml:"storage_configuration>disks>default>keep_free_space_bytes"`
	MergeTree    mergeXML `xml:"merge_tree"`
}

// leastFree is what inserts and merges leave of the disk, whatever floor is asked for: on a disk that is full to its last
// block the engine acknowledges parts whose small files are empty, and finds them broken when it starts.
const leastFree = 16 << 20

type mergeXML struct {
	FsyncInsert int `xml:"fsync_after_insert"`
	FsyncDir    int `xml:"fsync_part_directory"`
	// Statistics of columns, which the engine would gather at each merge.
	Statistics string `xml:"auto_statistics_types"`
}

// markCache holds the index marks of about a thousand million rows at a
// granularity of 8192; the engine's own default would be 5 GB.
const markCache = 128 << 20

func (c engineConf) server(users string) serverXML {
	return serverXML{
		UsersConfig:  users,
		ServerMemory: c.Memory,
		MarkCache:    min(markCache, c.Memory/8),
		MergePool:    max(2, c.Cores),
		SchedulePool: 16,
		CleaningPool: 4, // the default of 128 threads serves object storage
		BackupsPath:  c.Backups,
		EngineGrants: true,
		KeepFree:     leastFree,
		MergeTree:    mergeXML{FsyncInsert: 1, FsyncDir: 1},
	}
}

type usersXML struct {
	XMLName  xml.Name    `xml:"clickhouse"`
	Profiles profilesXML `xml:"profiles"`
	Users    accountsXML `xml:"users"`
	Quotas   struct{}    `xml:"quotas>default"`
}

type profilesXML struct {
	Default profileXML `xml:"default"`
}

type profileXML struct {
	QueryMemory    uint64 `xml:"max_memory_usage"`
	ExternalGroup  uint64 `xml:"max_bytes_before_external_group_by"`
	ExternalSort   uint64 `xml:"max_bytes_before_external_sort"`
	QuerySize      int    `xml:"max_query_size"`
	AsyncInsert    int    `xml:"async_insert"`
	ImplicitSelect int    `xml:"implicit_select"`
}

type accountsXML struct {
	Default accountXML `xml:"default"`
}

type accountXML struct {
	Password string   `xml:"password"`
	Networks string   `xml:"networks>ip"`
	Profile  string   `xml:"profile"`
	Quota    string   `xml:"quota"`
	Grants   []string `xml:"grants>query"`
}

// granted is everything but SOURCES and TABLE ENGINE: with those, file() and
// url(), or tables of such engines, would read the container's files and the
// cluster's network for anyone who may query. Engines that reach outside need
// their own grant (table_engines_require_grant), the others do not.
const granted = "GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, CHECK, BACKUP, KILL QUERY, " +
	"MOVE PARTITION BETWEEN SHARDS, SYSTEM, dictGet ON *.*"

func (c engineConf) users() usersXML {
	return usersXML{
		Profiles: profilesXML{Default: profileXML{
			// One query leaves a fifth to the others, and spills to disk before it
			// reaches its bound.
			QueryMemory:   c.Memory / 5 * 4,
			ExternalGroup: c.Memory / 5 * 2,
			ExternalSort:  c.Memory / 5 * 2,
			QuerySize:     16 << 20,
			// The engine's default, 1, sends VALUES through a queue and makes the
			// outcome of an insert depend on others.
			AsyncInsert: 0,
		}},
		Users: accountsXML{Default: accountXML{
			Networks: "::/0", Profile: "default", Quota: "default",
			Grants: []string{granted},
		}},
	}
}
