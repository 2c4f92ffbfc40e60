package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// program writes a file that stands for a program and returns an entry of it.
func program(t *testing.T, content string) Entry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Entry{Path: "/usr/bin/program", Mode: 0o755, Source: file}
}

func layer(t *testing.T, entries ...Entry) *Layer {
	t.Helper()
	l, err := NewLayer(entries)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func build(t *testing.T, layers ...*Layer) v1.Image {
	t.Helper()
	img, err := Build(Spec{Architecture: "amd64", Layers: layers, Entrypoint: []string{"/usr/bin/program"}, User: "65532:65532"})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestLayerIsTheSameWhateverTheOrderAndTime(t *testing.T) {
	one := program(t, "content")
	two := Entry{Path: "/etc/passwd", Mode: 0o644, Data: []byte("nobody")}
	first := layer(t, one, two)
	if err := os.Chtimes(one.Source, time.Unix(1, 0), time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	second := layer(t, two, one)
	if first.digest != second.digest {
		t.Errorf("the digest depends on the order of entries or their time: %s, %s", first.digest, second.digest)
	}
	if other := layer(t, program(t, "CONTENT"), two); other.digest == first.digest {
		t.Error("the digest does not depend on the content")
	}
}

func TestLayerHoldsEntriesAndTheirDirectories(t *testing.T) {
	content, err := layer(t, program(t, "content"), Entry{Path: "/tmp", Mode: 0o1777}, Entry{Path: "/bin", Mode: 0o777, Link: "usr/bin"}).Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var got []string
	reader := tar.NewReader(content)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.FileInfo().Mode().String()+" "+header.Name)
		if header.Uid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s belongs to %d and is of %s, want root and no time", header.Name, header.Uid, header.ModTime)
		}
	}
	want := []string{"Lrwxrwxrwx bin", "dtrwxrwxrwx tmp/", "drwxr-xr-x usr/", "drwxr-xr-x usr/bin/", "-rwxr-xr-x usr/bin/program"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestLayerRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		entries    []Entry
	}{
		{"a relative path, which would land wherever the engine unpacks", "absolute", []Entry{{Path: "etc/passwd"}}},
		{"the root itself", "below /", []Entry{{Path: "/"}}},
		{"the same path twice, of which an engine would take either", "twice", []Entry{{Path: "/a"}, {Path: "/a/"}}},
		{"a source that is not there", "no such file", []Entry{{Path: "/a", Source: "/does/not/exist"}}},
		{"a directory as source, whose content would be lost", "not a regular file", []Entry{{Path: "/a", Source: "/tmp"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewLayer(c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// An independent reader has to find the same image in the archive, both as
// Docker reads it and as an OCI layout.
func TestArchiveIsReadByOthers(t *testing.T) {
	img := build(t, layer(t, Entry{Path: "/etc/passwd", Mode: 0o644, Data: []byte("nobody")}), layer(t, program(t, "content")))
	if err := validate.Image(img, validate.Fast); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if _, err := WriteArchive(file, "kohort.dev/test:dev", img); err != nil {
		t.Fatal(err)
	}
	want, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}

	docker, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := docker.ConfigName(); err != nil || got != want {
		t.Errorf("as Docker reads it: %v, %v; want %v", got, err, want)
	}

	index, err := layout.ImageIndexFromPath(unpack(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("as an OCI layout: %v", err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	oci, err := index.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := oci.Layers()
	if err != nil || len(layers) != 2 {
		t.Errorf("the image has %d layers, %v; want 2", len(layers), err)
	}
	config, err := oci.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.OS != "linux" || config.Architecture != "amd64" {
		t.Errorf("config: %+v", config)
	}
}

func unpack(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	directory := t.TempDir()
	reader := tar.NewReader(f)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return directory
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		// What is stored under a digest must have it.
		if digest, isBlob := blobDigest(header.Name); isBlob {
			if got, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || got.String() != digest {
				t.Errorf("%s holds %v, %v", header.Name, got, err)
			}
		}
		to := filepath.Join(directory, header.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchiveIsWrittenOnlyWhenItChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	img := build(t, layer(t, program(t, "content")))
	other := build(t, layer(t, program(t, "other")))
	for _, c := range []struct {
		why  string
		name string
		img  v1.Image
		want bool
	}{
		{"nothing is there", "kohort.dev/test:dev", img, true},
		{"the same is there", "kohort.dev/test:dev", img, false},
		{"it has another name", "kohort.dev/test:other", img, true},
		{"it is another image", "kohort.dev/test:other", other, true},
	} {
		written, err := WriteArchive(file, c.name, c.img)
		if err != nil {
			t.Fatal(err)
		}
		if written != c.want {
			t.Errorf("%s: written is %t", c.why, written)
		}
		archive, err := OpenArchive(file)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := c.img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if archive.Name != c.name || archive.Digest != digest.String() {
			t.Errorf("%s: the archive holds %s %s", c.why, archive.Name, archive.Digest)
		}
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("files beside the archive: %v, %v", entries, err)
	}
}

// An engine that holds a layer gets everything but that layer, which is what
// makes loading a new program cheap beside a large library.
func TestCopyWithoutWhatAnEngineHolds(t *testing.T) {
	large := layer(t, Entry{Path: "/large", Mode: 0o644, Data: bytes.Repeat([]byte("x"), 1<<20)})
	file := filepath.Join(t.TempDir(), "image.tar")
	if _, err := WriteArchive(file, "kohort.dev/test:dev", build(t, large, layer(t, program(t, "content")))); err != nil {
		t.Fatal(err)
	}
	archive, err := OpenArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()

	var rest bytes.Buffer
	if err := archive.CopyWithout(&rest, func(digest string) bool { return digest == large.digest.String() }); err != nil {
		t.Fatal(err)
	}
	if rest.Len() > 1<<16 {
		t.Errorf("%d bytes are left, with the large layer among them", rest.Len())
	}
	var whole bytes.Buffer
	if err := archive.CopyWithout(&whole, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if whole.Len() < 1<<20 {
		t.Errorf("a second copy has %d bytes: the archive was not read from its start", whole.Len())
	}
}

func TestOpenArchiveRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other.tar")
	var content bytes.Buffer
	writer := tar.NewWriter(&content)
	if err := writer.WriteHeader(&tar.Header{Name: "readme", Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenArchive(file); err == nil || !strings.Contains(err.Error(), "no OCI image layout") {
		t.Errorf("a tar without an image: got %v", err)
	}
	if _, err := OpenArchive(file + ".missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}
