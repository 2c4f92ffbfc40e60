package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Archive is an image in a file that WriteArchive wrote.
type Archive struct {
	// Name is the image's repository:tag.
	Name string
	// Digest is the digest of its manifest, "sha256:…".
	Digest string
	// file is kept open: content is read when it is asked for.
	file *os.File
}

// maxIndexBytes bounds the index that is read into memory. One of this package
// has less than 1 KiB.
const maxIndexBytes = 1 << 20

// OpenArchive reads what image the archive in file holds. The caller closes it.
func OpenArchive(file string) (*Archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening an image archive: %w", err)
	}
	archive := &Archive{file: f}
	if err := archive.readIndex(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading image archive %s: %w", file, err), f.Close())
	}
	return archive, nil
}

// Close closes the archive's file.
func (a *Archive) Close() error { return a.file.Close() }

func (a *Archive) readIndex() error {
	reader := tar.NewReader(a.file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it has no %s: it is no OCI image layout", indexFile)
		}
		if err != nil {
			return err
		}
		if header.Name == indexFile {
			break
		}
	}
	var index v1.IndexManifest
	if err := json.NewDecoder(io.LimitReader(reader, maxIndexBytes)).Decode(&index); err != nil {
		return fmt.Errorf("decoding %s: %w", indexFile, err)
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("it holds %d images, want one", len(index.Manifests))
	}
	a.Name = index.Manifests[0].Annotations[nameAnnotation]
	if a.Name == "" {
		return fmt.Errorf("its image has no name: the annotation %s is missing in %s", nameAnnotation, indexFile)
	}
	a.Digest = index.Manifests[0].Digest.String()
	return nil
}

// CopyWithout writes the archive to w, less the blobs that held knows by their
// digest ("sha256:…"). An engine that has them takes the rest as a whole image.
func (a *Archive) CopyWithout(w io.Writer, held func(digest string) bool) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading image archive %s again: %w", a.file.Name(), err)
	}
	// A tar reader over a file seeks past what is not read, so a blob that is
	// left out costs nothing, whatever its size.
	reader, writer := tar.NewReader(a.file), tar.NewWriter(w)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return writer.Close()
		}
		if err != nil {
			return fmt.Errorf("reading image archive %s: %w", a.file.Name(), err)
		}
		if digest, isBlob := blobDigest(header.Name); isBlob && held(digest) {
			continue
		}
		if err := writer.WriteHeader(header); err != nil {
			return fmt.Errorf("copying %s of image archive %s: %w", header.Name, a.file.Name(), err)
		}
		if _, err := io.Copy(writer, reader); err != nil {
			return fmt.Errorf("copying %s of image archive %s: %w", header.Name, a.file.Name(), err)
		}
	}
}

// blobDigest returns the digest of the blob that a file of an image layout is.
func blobDigest(name string) (digest string, isBlob bool) {
	hex, isBlob := strings.CutPrefix(name, "blobs/sha256/")
	return "sha256:" + hex, isBlob
}

// tagOf returns the tag of a name, "latest" when it has none.
func tagOf(name string) string {
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		return name[i+1:]
	}
	return "latest"
}
