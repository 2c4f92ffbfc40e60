package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3client"
)

const (
	// maxObjects that one URL may match. Each costs a few hundred bytes until the run ends.
	maxObjects = 100_000
	// s3Tries of a request before the run fails, and the Job tries again.
	s3Tries = 5
)

// s3Items are the objects that an s3:// URL names, in the order of their keys. * and ? stand for parts of a name between
// slashes.
func (p *pull) s3Items(ctx context.Context) ([]item, error) {
	files := p.Order.Files
	rest := strings.TrimPrefix(files.URL, "s3://")
	bucket, pattern, _ := strings.Cut(rest, "/")
	if bucket == "" || pattern == "" || strings.ContainsAny(bucket, "*?") {
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q must be of the form s3://bucket/path/*.csv, with a bucket that is named", files.URL)
	}
	client, err := p.s3Client()
	if err != nil {
		return nil, err
	}
	if !strings.ContainsAny(pattern, "*?") {
		return []item{s3Item(client, bucket, pattern)}, nil
	}
	match := strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(pattern)
	prefix := pattern[:strings.IndexAny(pattern, "*?")]
	ctx, stop := context.WithCancel(ctx) // ends the listing
	defer stop()
	var keys []string
	for object := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return nil, s3Error("listing s3://"+bucket+"/"+prefix, object.Err)
		}
		if ok, err := path.Match(match, object.Key); err != nil {
			return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q is not a pattern: %w", files.URL, err)
		} else if !ok || strings.HasSuffix(object.Key, "/") {
			continue
		}
		if keys = append(keys, object.Key); len(keys) > maxObjects {
			return nil, run.Refuse(reasonSourceUnreachable, "spec.files.url %q matches more than %d objects; narrow it, such as by a folder for each month", files.URL, maxObjects)
		}
	}
	slices.Sort(keys)
	items := make([]item, len(keys))
	for i, key := range keys {
		items[i] = s3Item(client, bucket, key)
	}
	if len(items) == 0 {
		p.note = "no object matches " + files.URL
	}
	return items, nil
}

func (p *pull) s3Client() (*minio.Client, error) {
	where := p.Order.Files.S3
	if where == nil {
		return nil, run.Refuse(reasonRunFailed, "the order names no endpoint for %s", p.Order.Files.URL)
	}
	var keys *s3client.Keys
	if where.Keys {
		read, err := p.S3Keys()
		if err != nil {
			return nil, run.Refuse(reasonSecretNotFound, "reading the keys of spec.files.s3: %w", err)
		}
		keys = &read
	}
	client, err := s3client.New(*where, keys, s3Tries, stallTime)
	if err != nil {
		return nil, run.Refuse(reasonSourceUnreachable, "spec.files.s3 %w", err)
	}
	return client, nil
}

// s3Item is an object. Its version is its ETag, so that one is read once until it is replaced.
func s3Item(client *minio.Client, bucket, key string) item {
	location := "s3://" + bucket + "/" + key
	return item{url: location, open: func(ctx context.Context) (content, error) {
		reading, cancel := context.WithCancelCause(ctx)
		object, err := client.GetObject(reading, bucket, key, minio.GetObjectOptions{})
		if err != nil {
			cancel(nil)
			return content{}, s3Error("opening "+location, err)
		}
		info, err := object.Stat()
		if err != nil {
			cancel(nil)
			_ = object.Close()
			return content{}, s3Error("opening "+location, err)
		}
		return content{
			ReadCloser: &watched{in: object, ctx: reading, cancel: cancel, timer: time.AfterFunc(stallTime, func() { cancel(errStalled) })},
			at:         object, size: info.Size, version: "etag " + info.ETag,
		}, nil
	}}
}

// s3Error tells what a person has to do something about from what may pass.
func s3Error(doing string, err error) error {
	answer := minio.ToErrorResponse(err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case answer.StatusCode == 0 || answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return run.Fail(reasonSourceUnreachable, "%s: %w", doing, err)
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return run.Refuse(reasonSourceUnreachable, "%s: the storage refuses the login (%s); check the keys of spec.files.s3 and their rights", doing, answer.Code)
	case answer.Code == "NoSuchBucket":
		return run.Refuse(reasonSourceUnreachable, "%s: there is no such bucket; correct spec.files.url", doing)
	case answer.StatusCode == http.StatusNotFound:
		return run.Refuse(reasonSourceUnreachable, "%s: there is no such object; correct spec.files.url or put it there", doing)
	}
	return run.Refuse(reasonSourceUnreachable, "%s: %s", doing, fmt.Sprint(answer.Code, " ", redact(answer.Message)))
}
