package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Names of annotations in an archive's index that hold the image's name: the
// first is containerd's, the second OCI's, which keeps only the tag.
const (
	nameAnnotation = "io.containerd.image.name"
	tagAnnotation  = "org.opencontainers.image.ref.name"
)

// dockerImage is an entry of manifest.json, by which Docker and Podman find an
// image in an archive.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// WriteArchive writes img to file under name (repository:tag) as an OCI image
// layout in a tar that Docker's and Podman's load command also takes.
//
// A file that already holds this image under this name is left alone; written
// says whether it was written. It appears whole or not at all.
func WriteArchive(file, name string, img v1.Image) (written bool, err error) {
	digest, err := img.Digest()
	if err != nil {
		return false, fmt.Errorf("computing the digest of %s: %w", name, err)
	}
	if old, err := OpenArchive(file); err == nil {
		same := old.Name == name && old.Digest == digest.String()
		if err := old.Close(); err != nil {
			return false, fmt.Errorf("closing %s: %w", file, err)
		}
		if same {
			return false, nil
		}
	}

	temporary, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return false, fmt.Errorf("writing the archive of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, removeIfThere(temporary.Name())) }()
	err = errors.Join(writeArchive(temporary, name, img), temporary.Chmod(0o644), temporary.Close())
	if err != nil {
		return false, fmt.Errorf("writing the archive of %s: %w", name, err)
	}
	if err := os.Rename(temporary.Name(), file); err != nil {
		return false, fmt.Errorf("putting the archive of %s in place: %w", name, err)
	}
	return true, nil
}

func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// writeArchive writes the small files first: who wants to know what an archive
// holds has then read its first kilobytes only.
func writeArchive(w io.Writer, name string, img v1.Image) error {
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	configDigest, err := img.ConfigName()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}

	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType:   types.OCIManifestSchema1,
			Size:        int64(len(manifest)),
			Digest:      digest,
			Annotations: map[string]string{nameAnnotation: name, tagAnnotation: tagOf(name)},
		}},
	})
	if err != nil {
		return err
	}
	docker := dockerImage{Config: blobPath(configDigest), RepoTags: []string{name}}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		docker.Layers = append(docker.Layers, blobPath(digest))
	}
	dockerManifest, err := json.Marshal([]dockerImage{docker})
	if err != nil {
		return err
	}

	archive := tar.NewWriter(w)
	for _, file := range []struct {
		name string
		data []byte
	}{
		{layoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{indexFile, index},
		{"manifest.json", dockerManifest},
		{blobPath(digest), manifest},
		{blobPath(configDigest), config},
	} {
		if err := archive.WriteHeader(fileHeader(file.name, int64(len(file.data)))); err != nil {
			return err
		}
		if _, err := archive.Write(file.data); err != nil {
			return err
		}
	}
	written := map[v1.Hash]bool{}
	for _, layer := range layers {
		if err := writeLayer(archive, layer, written); err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeLayer adds a layer unless the archive already holds it.
func writeLayer(archive *tar.Writer, layer v1.Layer, written map[v1.Hash]bool) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	if written[digest] {
		return nil
	}
	written[digest] = true
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(fileHeader(blobPath(digest), size)); err != nil {
		return errors.Join(err, content.Close())
	}
	_, err = io.Copy(archive, content)
	return errors.Join(err, content.Close())
}

// Files of an OCI image layout, the rest are blobs.
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
)

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

func fileHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX}
}
