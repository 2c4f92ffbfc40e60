package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"syscall"

	"github.com/minio/minio-go/v7"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3client"
)

// localFolder is one in a volume.
type localFolder struct {
	root string // directory of the volume
	name string // below it
}

func (l *localFolder) close() {}

// put writes aside and renames: a rename is whole or has not happened (POSIX, rename). Nothing outside of the volume is
// reached, neither by .. nor by links: os.Root sees to it.
func (l *localFolder) put(_ context.Context, name string, content []byte, _ string) error {
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return localError("opening the claim's volume", err)
	}
	defer func() { _ = root.Close() }()
	name = path.Join(l.name, name)
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return localError("making the folder", err)
	}
	aside := path.Join(path.Dir(name), "."+path.Base(name)+".part")
	if err := writeSynced(root, aside, content); err != nil {
		_ = root.Remove(aside)
		return localError("writing a file", err)
	}
	if err := root.Rename(aside, name); err != nil {
		return localError("writing a file", err)
	}
	folder, err := root.Open(path.Dir(name))
	if err != nil {
		return localError("writing a file", err)
	}
	defer func() { _ = folder.Close() }()
	if err := folder.Sync(); err != nil { // or the name is lost when the machine is
		return localError("writing a file", err)
	}
	return nil
}

func writeSynced(root *os.Root, name string, content []byte) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err = file.Write(content); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// localError tells what a person has to do something about from what may pass.
func localError(doing string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist):
		return run.Refuse(ReasonUnreachable, "%s: %v; the volume of spec.files.claimRef must be writable for user 65532, and spec.files.url a folder in it", doing, pathless(err))
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return run.Fail(ReasonUnreachable, "%s: the volume of spec.files.claimRef is full; make it larger, or take old files away", doing)
	}
	return &UnavailableError{Err: fmt.Errorf("%s in the volume of spec.files.claimRef: %w", doing, pathless(err))}
}

// s3Folder is one in a storage that speaks S3, where a file is there when it is whole.
type s3Folder struct {
	config         FilesConfig
	bucket, prefix string
}

func (s *s3Folder) close() {}

// client is made for each file, so that keys that were changed count.
func (s *s3Folder) client() (*minio.Client, error) {
	var keys *s3client.Keys
	if s.config.S3.Keys {
		id, err := readSecret(s.config.KeyIDFile, "spec.files.s3.accessKeyIDSecretRef")
		if err != nil {
			return nil, err
		}
		secret, err := readSecret(s.config.SecretFile, "spec.files.s3.secretAccessKeySecretRef")
		if err != nil {
			return nil, err
		}
		keys = &s3client.Keys{ID: id, Secret: secret}
	}
	client, err := s3client.New(*s.config.S3, keys, 1, RequestTimeout) // the sender has the one retry policy
	if err != nil {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.files.s3 of the Destination %w", err)
	}
	return client, nil
}

func (s *s3Folder) put(ctx context.Context, name string, content []byte, contentType string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	_, err = client.PutObject(ctx, s.bucket, path.Join(s.prefix, name), bytes.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{ContentType: contentType})
	if err != nil {
		return s.failure(err)
	}
	return nil
}

// failure turns an error of a storage into the kind that the caller's policy is about.
func (s *s3Folder) failure(err error) error {
	host := s.config.S3.Endpoint
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.StatusCode == 0:
		var dial *net.OpError
		var resolve *net.DNSError
		unconnected := errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &resolve)
		return &UnavailableError{Unconnected: unconnected, Err: fmt.Errorf("%s did not answer: %w; check that it runs and that spec.files.s3.endpoint is right", host, withoutURL(err))}
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return &UnavailableError{Overloaded: answer.Code == "SlowDown" || answer.StatusCode == http.StatusTooManyRequests, Err: fmt.Errorf("%s answered %d %s; look at the storage's log", host, answer.StatusCode, answer.Code)}
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return run.Refuse(ReasonUnreachable, "%s refuses the login (%s); check the Secret keys that spec.files.s3 names, and that they may put objects into bucket %s", host, answer.Code, s.bucket)
	case answer.Code == "NoSuchBucket":
		return run.Refuse(ReasonUnreachable, "%s has no bucket %q; make it, or correct spec.files.url", host, s.bucket)
	}
	return run.Refuse(ReasonUnreachable, "%s answered %d %s; check spec.files.s3 and spec.files.url", host, answer.StatusCode, answer.Code)
}
