package prune

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeep(t *testing.T) {
	parts := []Part{{"202601", 1, 4}, {"202602", 9, 9}, {"all", 0, 0}}
	for _, c := range []struct {
		why, log, kept string
		dropped        int
	}{
		{"a part that is there", "1\t202602_9_9_0\ttoken\n", "1\t202602_9_9_0\ttoken\n", 0},
		{"a part that was merged into another", "1\t202601_2_2_0\ta\n1\t202601_4_4_0\tb\n", "1\t202601_2_2_0\ta\n1\t202601_4_4_0\tb\n", 0},
		{"a part that was mutated since", "1\tall_0_0_0\ta\n", "1\tall_0_0_0\ta\n", 0},
		{"a part that the kill prevented", "1\t202601_1_1_0\ta\n1\t202601_5_5_0\tb\n", "1\t202601_1_1_0\ta\n", 1},
		{"the same number in another partition is another part", "1\t202602_1_1_0\ta\n", "", 1},
		{"the engine's own removals stay", "2\t202601_5_5_0\ta\n", "2\t202601_5_5_0\ta\n", 0},
		{"a line torn by the kill", "1\t202602_9_9_0\ta\n1\t2026", "1\t202602_9_9_0\ta\n", 1},
		{"a whole line without its end is torn as well", "1\t202602_9_9_0\ta", "", 1},
		{"a line of something else", "x\n1\tnot a part\tb\n", "", 2},
		{"a token with tabs", "1\tall_0_0_0\ta\tb\n", "1\tall_0_0_0\ta\tb\n", 0},
		{"nothing", "", "", 0},
	} {
		kept, _, dropped := Keep([]byte(c.log), parts)
		if string(kept) != c.kept || dropped != c.dropped {
			t.Errorf("%s: kept %q and dropped %d, want %q and %d", c.why, kept, dropped, c.kept, c.dropped)
		}
	}
}

func TestParsePart(t *testing.T) {
	for name, want := range map[string]bool{
		"202601_1_1_0": true, "all_0_12_3_14": true, "-1_5_5_0": true, "f00d_1_2_0": true,
		"tmp_insert_202601_1_1_0": false, "delete_tmp_all_1_1_0": false, "detached": false, "deduplication_logs": false,
		"all_1_1": false, "format_version.txt": false,
	} {
		if _, ok := ParsePart(name); ok != want {
			t.Errorf("%s is a part: %v, want %v", name, ok, want)
		}
	}
}

func TestLogs(t *testing.T) {
	root := t.TempDir()
	table := filepath.Join(root, "store", "abc", "abcdef")
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(table, "202601_1_1_0", "data.bin"), "x")
	log1 := filepath.Join(table, "deduplication_logs", "deduplication_log_1.txt")
	log2 := filepath.Join(table, "deduplication_logs", "deduplication_log_2.txt")
	write(log1, "1\t202601_1_1_0\ta\n1\t202601_2_2_0\tb\n")
	write(log2, "1\t202601_1_1_0\tc\n")
	got, err := Logs(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Report{Logs: 2, Entries: 3, Dropped: 1}, got); diff != "" {
		t.Errorf("the report differs (-want +got):\n%s", diff)
	}
	kept, err := os.ReadFile(log1)
	if err != nil || string(kept) != "1\t202601_1_1_0\ta\n" {
		t.Errorf("the log holds %q (error %v)", kept, err)
	}
	if info, err := os.Stat(log1); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the log's permissions are %v (error %v), want those it had", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(root, "prune-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left behind: %v (error %v)", left, err)
	}
	if got, err = Logs(root); err != nil || got.Dropped != 0 {
		t.Errorf("a second run dropped %d entries (error %v), want none", got.Dropped, err)
	}
	if _, err := Logs(filepath.Join(root, "new")); err != nil {
		t.Errorf("a data directory that does not exist yet is an error: %v", err)
	}
}
