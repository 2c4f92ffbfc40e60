package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Entry is one file, directory or symbolic link of a layer. Exactly one of
// Source, Data and Link says what it holds; an Entry with none is a directory.
type Entry struct {
	// Path is where it lies in the image, absolute.
	Path string
	// Mode holds the permission bits: 0o755 for programs and directories.
	Mode int64
	// Source is the file of this machine to copy.
	Source string
	// Data is the content itself.
	Data []byte
	// Link is the target of a symbolic link.
	Link string
}

// Layer is an uncompressed layer of an image. It keeps no content: it reads
// the sources again each time, so they have to stay as they are meanwhile.
type Layer struct {
	entries []Entry
	digest  v1.Hash
	size    int64
}

// NewLayer makes a layer of entries and of the directories above them. It
// reads every source once, to learn the layer's digest.
func NewLayer(entries []Entry) (*Layer, error) {
	sorted, err := withParents(entries)
	if err != nil {
		return nil, err
	}
	layer := &Layer{entries: sorted}
	hash := sha256.New()
	counter := &countingWriter{to: hash}
	if err := layer.write(counter); err != nil {
		return nil, err
	}
	layer.size = counter.n
	layer.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}
	return layer, nil
}

// withParents returns entries sorted by path, with a directory for each
// parent that is not among them.
func withParents(entries []Entry) ([]Entry, error) {
	byPath := make(map[string]Entry, 2*len(entries))
	for _, entry := range entries {
		clean := path.Clean(entry.Path)
		if !path.IsAbs(clean) || clean == "/" {
			return nil, fmt.Errorf("entry %q: a path in an image is absolute and names something below /", entry.Path)
		}
		if _, twice := byPath[clean]; twice {
			return nil, fmt.Errorf("entry %s: given twice", clean)
		}
		entry.Path = clean
		byPath[clean] = entry
	}
	for _, entry := range entries {
		for dir := path.Dir(path.Clean(entry.Path)); dir != "/"; dir = path.Dir(dir) {
			if _, known := byPath[dir]; !known {
				byPath[dir] = Entry{Path: dir, Mode: 0o755}
			}
		}
	}
	sorted := make([]Entry, 0, len(byPath))
	for _, entry := range byPath {
		sorted = append(sorted, entry)
	}
	slices.SortFunc(sorted, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return sorted, nil
}

// write writes the layer's tar.
func (l *Layer) write(w io.Writer) error {
	archive := tar.NewWriter(w)
	for _, entry := range l.entries {
		if err := writeEntry(archive, entry); err != nil {
			return fmt.Errorf("adding %s to a layer: %w", entry.Path, err)
		}
	}
	return archive.Close()
}

// writeEntry adds one entry. Its header names neither time nor owner, which
// would differ from one build to the next.
func writeEntry(archive *tar.Writer, entry Entry) error {
	header := &tar.Header{
		Name:   strings.TrimPrefix(entry.Path, "/"),
		Mode:   entry.Mode,
		Format: tar.FormatPAX,
	}
	switch {
	case entry.Source != "":
		source, err := os.Open(entry.Source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", entry.Source)
		}
		header.Typeflag, header.Size = tar.TypeReg, info.Size()
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = io.Copy(archive, source)
		return err
	case entry.Data != nil:
		header.Typeflag, header.Size = tar.TypeReg, int64(len(entry.Data))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(archive, bytes.NewReader(entry.Data))
		return err
	case entry.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, entry.Link
		return archive.WriteHeader(header)
	default:
		header.Typeflag = tar.TypeDir
		header.Name += "/"
		return archive.WriteHeader(header)
	}
}

// Digest returns the digest of the layer as it is stored, which is also that
// of its tar, for it is not compressed.
func (l *Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the digest of the layer's tar.
func (l *Layer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Size returns the size in bytes of the layer's tar.
func (l *Layer) Size() (int64, error) { return l.size, nil }

// MediaType returns the type of an uncompressed layer.
func (l *Layer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// Compressed returns the layer as it is stored: its plain tar.
func (l *Layer) Compressed() (io.ReadCloser, error) { return l.Uncompressed() }

// Uncompressed returns the layer's tar, written while it is read. The caller
// closes it; closing early ends the writing.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(l.write(writer)) }()
	return reader, nil
}

// countingWriter counts the bytes that pass to another writer.
type countingWriter struct {
	to io.Writer
	n  int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
