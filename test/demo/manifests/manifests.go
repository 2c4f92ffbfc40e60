// Package manifests holds the demo's YAML: the numbered files are Kohort's part, which a reader learns from and which
// stands for the sample of each kind; world is everything around it.
package manifests

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

//go:embed *.yaml world/*.yaml
var files embed.FS

// Namespace that the files are written for.
const Namespace = "shop"

// Place says where manifests are to go.
type Place struct {
	Namespace string
	// Images are what was built, by repository, such as kohort.dev/kohort-demo: kohort.dev/kohort-demo:1a2b3c. An image
	// that is not among them stays as it is written.
	Images map[string]string
}

// Read returns the manifests of files whose names match a pattern of path.Match, such as "4*.yaml" or
// "world/database.yaml", put into a place.
func (p Place) Read(pattern string) ([]byte, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no manifest matches %q", pattern)
	}
	var out bytes.Buffer
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.move(&out, data); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return out.Bytes(), nil
}

// move writes each document of a file with its namespace and images changed.
func (p Place) move(out *bytes.Buffer, data []byte) error {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if object.GetKind() == "Namespace" {
			object.SetName(p.Namespace)
		} else {
			object.SetNamespace(p.Namespace)
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		out.WriteString("---\n")
		out.WriteString(p.withImages(string(text)))
	}
}

// withImages names the images that were built.
func (p Place) withImages(text string) string {
	return regexp.MustCompile(`image: ([^:\s]+):\S+`).ReplaceAllStringFunc(text, func(line string) string {
		repository, _, _ := strings.Cut(strings.TrimPrefix(line, "image: "), ":")
		if built, known := p.Images[repository]; known {
			return "image: " + built
		}
		return line
	})
}
