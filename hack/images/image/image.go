package image

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec says what an image holds and how it starts.
type Spec struct {
	// Architecture is Go's name of the processor that the programs are for.
	Architecture string
	// Layers, the ones that change least first: an engine that holds the
	// lower ones takes only those above.
	Layers []*Layer
	// Entrypoint is the command, its arguments come from the pod.
	Entrypoint []string
	// Env holds NAME=value lines.
	Env []string
	// User is "uid:gid" in digits, which is what lets kubelet see that the
	// user is not root.
	User string
	// WorkingDir is where the command starts, / when empty.
	WorkingDir string
	// StopSignal is what asks the command to end, SIGTERM when empty.
	StopSignal string
}

// Build makes the image that spec describes.
func Build(spec Spec) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, layer := range spec.Layers {
		var err error
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: types.OCIUncompressedLayer})
		if err != nil {
			return nil, fmt.Errorf("appending a layer: %w", err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", spec.Architecture
	config.Config = v1.Config{
		Entrypoint: spec.Entrypoint,
		Env:        spec.Env,
		User:       spec.User,
		WorkingDir: spec.WorkingDir,
		StopSignal: spec.StopSignal,
	}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return nil, fmt.Errorf("setting the image's config: %w", err)
	}
	return image, nil
}
