package controllers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// People copy the manifests of the pages on single kinds: the API server must take each as it stands.
func TestManifestsOfPagesOnKinds(t *testing.T) {
	s := newScene(t)
	pages, err := filepath.Glob(filepath.Join("..", "docs", "destinations", "*.md"))
	if err != nil || len(pages) < 2 {
		t.Fatalf("%d pages (%v)", len(pages), err)
	}
	sources, err := filepath.Glob(filepath.Join("..", "docs", "sources", "*.md"))
	if err != nil || len(sources) < 6 {
		t.Fatalf("%d pages (%v)", len(sources), err)
	}
	for _, page := range slices.Concat(pages, sources, []string{filepath.Join("..", "docs", "tracking-plans.md"), filepath.Join("..", "docs", "sources.md"), filepath.Join("..", "docs", "audiences.md"), filepath.Join("..", "docs", "syncs.md"), filepath.Join("..", "docs", "destinations.md")}) {
		if filepath.Base(page) == "mapping.md" { // which has none
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			g := gomega.NewWithT(t)
			kinds := map[string]int{}
			for _, obj := range manifests(t, page) {
				kinds[obj.GetKind()]++
				obj.SetNamespace(s.namespace)
				g.Expect(k8s.Create(s.ctx, obj, client.DryRunAll, client.FieldValidation("Strict"))).To(gomega.Succeed(), obj.GetKind())
			}
			g.Expect(kinds["Destination"]+kinds["Source"]+kinds["Audience"]).To(gomega.BeNumerically(">", 0), "the page shows no Destination, Source or Audience")
		})
	}
}

// manifests decodes the YAML blocks of a page.
func manifests(t *testing.T, page string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatalf("block %d is not closed", i+1)
		}
		for document := range strings.SplitSeq(block, "\n---\n") {
			obj := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict([]byte(document), &obj.Object); err != nil {
				t.Fatal(fmt.Errorf("block %d: %w\n%s", i+1, err, document))
			}
			out = append(out, obj)
		}
	}
	return out
}

// So it must with the examples of Audiences; what they have for members is tested where Audiences are computed.
func TestManifestsOfAudiencePage(t *testing.T) {
	s, g := newScene(t), gomega.NewWithT(t)
	audiences := manifests(t, filepath.Join("..", "docs", "audiences.md"))
	g.Expect(len(audiences)).To(gomega.BeNumerically(">", 20))
	for _, obj := range audiences {
		obj.SetNamespace(s.namespace)
		g.Expect(k8s.Create(s.ctx, obj, client.DryRunAll, client.FieldValidation("Strict"))).To(gomega.Succeed(), obj.GetName())
	}
}
