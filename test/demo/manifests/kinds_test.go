package manifests

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
)

// TestSamplesKnowTheirFields decodes each sample strictly: a field that the API does not have is a typing error here, long
// before a cluster is asked. Every kind that people write must have a sample.
func TestSamplesKnowTheirFields(t *testing.T) {
	kinds := map[string]func() any{
		"Platform":        func() any { return &v1alpha1.Platform{} },
		"Source":          func() any { return &v1alpha1.Source{} },
		"Destination":     func() any { return &v1alpha1.Destination{} },
		"Audience":        func() any { return &v1alpha1.Audience{} },
		"RetentionPolicy": func() any { return &v1alpha1.RetentionPolicy{} },
	}
	text, err := Place{Namespace: Namespace}.Read("[1-9]*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		empty, known := kinds[object.GetKind()]
		if !known {
			t.Errorf("%s %s is of a kind that nobody knows", object.GetKind(), object.GetName())
			continue
		}
		seen = append(seen, object.GetKind())
		again, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(again, empty()); err != nil {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	for kind := range kinds {
		if !slices.Contains(seen, kind) {
			t.Errorf("no sample of kind %s", kind)
		}
	}
}
