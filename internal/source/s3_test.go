package source

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3client"
	"kohort.dev/kohort/internal/s3test"
)

func TestPullFromS3(t *testing.T) {
	endpoint, client := s3test.Start(t)
	b := newBench(t)
	put := func(key string, content []byte) {
		t.Helper()
		if _, err := client.PutObject(t.Context(), "lists", key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	keys := s3client.Keys{ID: "reader", Secret: "secret-key"}
	do := func(url, format, mapping string) (run.Report, error) {
		options := b.options(run.PullOrder{Mapping: mapping, Files: &run.Files{URL: url, Format: format, S3: &run.S3{Endpoint: endpoint, Region: "us-east-1", PathStyle: true, Keys: true}}})
		options.S3Keys = func() (s3client.Keys, error) { return keys, nil }
		return Run(t.Context(), options)
	}
	csv := func(from, to int) []byte {
		out := []byte("id,email,visits\n")
		for i := from; i < to; i++ {
			out = fmt.Appendf(out, "u%d,u%d@example.com,%d\n", i, i, i)
		}
		return out
	}
	put("2026/11/a.csv", csv(0, 3))
	put("2026/11/b.csv", csv(3, 5))
	put("2026/11/deep/c.csv", csv(100, 200))
	put("2026/12/a.csv", csv(5, 6))
	put("2026/12/readme.txt", []byte("hello"))
	put("people.parquet", parquetFile(t, everyType{Name: "p1", Big: 3}, everyType{Name: "p2", Big: 4}))

	check := func(why, url, format, mapping string, read int64) {
		t.Helper()
		report, err := do(url, format, mapping)
		if err != nil || report.Read != read || report.Published != read {
			t.Errorf("%s: %+v, %v; want %d", why, report, err, read)
		}
	}
	check("every object that matches, and none below", "s3://lists/2026/*/*.csv", "CSV", customers, 6)
	check("what has not changed is not read again", "s3://lists/2026/*/*.csv", "CSV", customers, 0)
	put("2026/12/a.csv", csv(5, 8))
	check("an object that was replaced is", "s3://lists/2026/*/*.csv", "CSV", customers, 3)
	check("one object", "s3://lists/2026/11/a.csv", "CSV", customers+"root.traits.again = true\n", 3)
	check("Parquet is read from its end", "s3://lists/people.parquet", "Parquet", "root.type = \"identify\"\nroot.userId = this.name\nroot.traits.visits = this.big", 2)
	check("nothing matches", "s3://lists/none/*.csv", "CSV", customers, 0)
	if got := distinct(b.events(t)); len(got) < 10 {
		t.Errorf("%d events", len(got))
	}
	for _, c := range []struct {
		why, url string
		keys     s3client.Keys
		says     string
	}{
		{"an object that is not there", "s3://lists/none.csv", keys, "no such object"},
		{"a bucket that is not there", "s3://none/*.csv", keys, "no such bucket"},
		{"a wrong secret", "s3://lists/*.csv", s3client.Keys{ID: "reader", Secret: "hunter2"}, "refuses the login"},
		{"a bucket that is a pattern", "s3://l*/a.csv", keys, "s3://bucket/path"},
	} {
		keys = c.keys
		_, err := do(c.url, "CSV", customers)
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != reasonSourceUnreachable || !failure.Fatal || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.why, err)
		}
		keys = s3client.Keys{ID: "reader", Secret: "secret-key"}
	}
}
