package source

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/mapping"
)

// The pages' manifests are there to be copied: every field must exist and every mapping must parse.
func TestManifestsAndMappingsOfTheDocumentation(t *testing.T) {
	pages, err := filepath.Glob("../../docs/sources/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var page []byte
	for _, path := range pages {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page = append(page, text...)
	}
	manifests := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	types := map[string]bool{}
	for _, manifest := range documents(manifests) {
		var s v1alpha1.Source
		if err := yaml.UnmarshalStrict([]byte(manifest), &s); err != nil {
			t.Errorf("%v in\n%s", err, manifest)
			continue
		}
		types[s.Type()] = true
		if s.Spec.Mapping != "" {
			if _, err := mapping.Compile(s.Spec.Mapping); err != nil {
				t.Errorf("Source %s: %v", s.Name, err)
			}
		}
	}
	if len(types) != 7 {
		t.Errorf("the pages show manifests of %v; each kind needs one", types)
	}
	recipes := regexp.MustCompile("(?m)^\\| [^|]+ \\| `(root(?:[^`])*)`").FindAllStringSubmatch(string(page), -1)
	if len(recipes) < 8 {
		t.Fatalf("found %d recipes", len(recipes))
	}
	row := map[string]any{"total": "1.5", "year": "n/a", "phone": "", "genres": "a|b", "id": "u1", "email": "a@example.com", "test": "yes"}
	for _, recipe := range recipes {
		text := strings.ReplaceAll(recipe[1], `\|`, "|")
		row["at"] = "1260759144"
		if strings.Contains(text, "ts_parse") {
			row["at"] = "23.11.2026 15:24"
		}
		m, err := mapping.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		// A recipe is no whole event, so what is made of it may be refused.
		fault, err := m.Events(mapping.Record{}, "", row, func(int, []byte, *mapping.Fault) error { return nil })
		if err != nil || fault != nil {
			t.Errorf("%s: %v, %v", text, fault, err)
		}
	}
}

// documents are the Sources of blocks of YAML.
func documents(blocks [][]string) []string {
	var out []string
	for _, block := range blocks {
		for _, document := range strings.Split(block[1], "\n---\n") {
			if strings.Contains(document, "kind: Source\n") {
				out = append(out, document)
			}
		}
	}
	return out
}
