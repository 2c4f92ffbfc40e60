package destination

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/parquet-go/parquet-go"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3test"
)

var slot = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func filesIn(t *testing.T, target run.FileTarget, keys ...string) *Files {
	t.Helper()
	config := FilesConfig{FileTarget: target, Audience: "vip", Slot: slot, Now: func() time.Time { return slot.Add(time.Minute) }}
	if len(keys) == 2 {
		config.KeyIDFile, config.SecretFile = file(t, keys[0]), file(t, keys[1])
	}
	f, err := NewFiles(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// versioned is two with versions, and a value that formats could break.
func versioned() Batch {
	b := Batch{Key: two.Key, Operations: append([]Operation(nil), two.Operations...)}
	b.Operations[0].Version, b.Operations[1].Version = 8, 9
	b.Operations[1].Entry = 3
	b.Operations[1].Traits = map[string]json.RawMessage{"plan": []byte(`"=1+1, \"pro\"\n|b;"`), "city": []byte("null")}
	return b
}

func TestFilesFormats(t *testing.T) {
	removed := []string{"remove", "vip", "11111111-1111-5111-8111-111111111111", "8", "0", `{"email":["ada@example.com"]}`, `{}`}
	entered := []string{"upsert", "vip", "22222222-2222-5222-8222-222222222222", "9", "3", `{"email":["alan@example.com"],"userId":["u2"]}`, `{"city":null,"plan":"=1+1, \"pro\"\n|b;"}`}
	for format, read := range map[string]func([]byte) ([][]string, error){
		"CSV": func(content []byte) ([][]string, error) {
			rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
			if err == nil && !cmp.Equal(rows[0], []string{"op", "audience", "id", "version", "entry", "identifiers", "traits"}) {
				err = errors.New("the head is " + strings.Join(rows[0], ","))
			}
			return rows[1:], err
		},
		"JSONL": func(content []byte) (rows [][]string, err error) {
			for line := range bytes.Lines(content) {
				var r fileRecord
				if err := json.Unmarshal(line, &r); err != nil {
					return nil, err
				}
				rows = append(rows, []string{string(r.Op), r.Audience, r.ID, fmt.Sprint(r.Version), fmt.Sprint(r.Entry), string(r.Identifiers), string(r.Traits)})
			}
			return rows, nil
		},
		"Parquet": func(content []byte) (rows [][]string, err error) {
			records, err := parquet.Read[parquetRecord](bytes.NewReader(content), int64(len(content)))
			for _, r := range records {
				rows = append(rows, []string{r.Op, r.Audience, r.ID, fmt.Sprint(r.Version), fmt.Sprint(r.Entry), r.Identifiers, r.Traits})
			}
			return rows, err
		},
	} {
		t.Run(format, func(t *testing.T) {
			root := t.TempDir()
			f := filesIn(t, run.FileTarget{URL: "file:///out/crm", Format: format, Root: root})
			for range 2 { // the second time the file is replaced by its like
				results, err := f.Deliver(context.Background(), versioned())
				if err != nil || !cmp.Equal(results, make([]Result, 2)) {
					t.Fatal(results, err)
				}
			}
			folder := filepath.Join(root, "out", "crm", "vip", "20261123T120000Z")
			names, err := os.ReadDir(folder)
			if err != nil || len(names) != 1 || names[0].Name() != "ab."+strings.ToLower(format) {
				t.Fatalf("files %v (%v)", names, err)
			}
			content, err := os.ReadFile(filepath.Join(folder, names[0].Name()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(content)
			if diff := cmp.Diff([][]string{removed, entered}, got); err != nil || diff != "" {
				t.Errorf("(-want +got)\n%s (%v)", diff, err)
			}
			if err := f.Complete(context.Background(), Completion{Revision: 7, Members: 1}); err != nil {
				t.Fatal(err)
			}
			said, err := os.ReadFile(filepath.Join(root, "out", "crm", "vip", completionFile))
			if want := `{"audience":"vip","run":"20261123T120000Z","revision":7,"members":1,"written":"2026-11-23T12:01:00Z"}` + "\n"; err != nil || string(said) != want {
				t.Errorf("%s (%v), want %s", said, err, want)
			}
		})
	}
}

func TestFilesInS3(t *testing.T) {
	endpoint, client := s3test.Start(t)
	at := run.S3{Endpoint: endpoint, Region: "us-east-1", PathStyle: true, Keys: true}
	f := filesIn(t, run.FileTarget{URL: "s3://lists/out/", Format: "JSONL", S3: &at}, s3test.KeyID, s3test.Secret)
	if _, err := f.Deliver(context.Background(), versioned()); err != nil {
		t.Fatal(err)
	}
	if err := f.Complete(context.Background(), Completion{}); err != nil {
		t.Fatal(err)
	}
	object, err := client.GetObject(t.Context(), "lists", "out/vip/20261123T120000Z/ab.jsonl", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(object); err != nil || bytes.Count(text, []byte("\n")) != 2 {
		t.Errorf("object %s (%v)", text, err)
	}
	if _, err := client.StatObject(t.Context(), "lists", "out/vip/_complete.json", minio.StatObjectOptions{}); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		why, url, secret, endpoint, kind, reason, says string
	}{
		{"a wrong secret", "s3://lists/out", "hunter2", endpoint, "fatal", ReasonUnreachable, "refuses the login"},
		{"a bucket that is not there", "s3://none/out", s3test.Secret, endpoint, "fatal", ReasonUnreachable, `no bucket "none"`},
		{"an empty Secret", "s3://lists/out", " ", endpoint, "fatal", ReasonSecretNotFound, "spec.files.s3.secretAccessKeySecretRef"},
		{"nobody answers", "s3://lists/out", s3test.Secret, "http://127.0.0.1:1", "unconnected", "", "spec.files.s3.endpoint"},
		{"an endpoint that is none", "s3://lists/out", s3test.Secret, "ftp://x", "fatal", ReasonInvalidSpec, "spec.files.s3"},
	} {
		at := at
		at.Endpoint = c.endpoint
		_, err := filesIn(t, run.FileTarget{URL: c.url, Format: "CSV", S3: &at}, s3test.KeyID, c.secret).Deliver(context.Background(), versioned())
		kind, _ := kindOf(err)
		var failure *run.Failure
		if kind != c.kind || errors.As(err, &failure) && failure.Reason != c.reason || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %s: %v", c.why, kind, err)
		}
	}
}

func TestFilesSayWhatIsWrong(t *testing.T) {
	for _, url := range []string{"file:///", "file:///../x", "file:///a/../../x", "file:///a//b", "https://x/y", "s3://lists/x"} {
		_, err := NewFiles(FilesConfig{FileTarget: run.FileTarget{URL: url, Format: "CSV", Root: t.TempDir()}})
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != ReasonInvalidSpec {
			t.Errorf("%s: %v", url, err)
		}
	}
	root, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for why, target := range map[string]run.FileTarget{
		"a link out of the volume":          {URL: "file:///link", Format: "CSV", Root: root},
		"a file where the folder is to be":  {URL: "file:///file", Format: "CSV", Root: root},
		"a volume that is not there":        {URL: "file:///x", Format: "CSV", Root: filepath.Join(root, "none")},
		"a volume that nobody may write to": {URL: "file:///x", Format: "CSV", Root: "/proc"},
	} {
		if _, err := filesIn(t, target).Deliver(context.Background(), versioned()); err == nil {
			t.Errorf("%s: no error", why)
		} else if strings.Contains(err.Error(), "ada@") {
			t.Errorf("%s: %v", why, err)
		}
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
		t.Errorf("files outside of the volume: %v (%v)", left, err)
	}
	one := filesIn(t, run.FileTarget{URL: "file:///x", Format: "CSV", Root: root}).Holder()
	if other := filesIn(t, run.FileTarget{URL: "file:///x", Format: "JSONL", Root: root}).Holder(); one == other {
		t.Error("another format is the same place")
	}
}
