package controllers

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/controllers/internal/naming"
)

// celCase is one rule of a CRD with what it lets through and what it refuses.
type celCase struct {
	kind string
	path string // of the rule in the schema; [] for items
	// message of the rule, whole: it identifies the rule, and is what a person sees.
	message string
	// before is the spec that is changed, for a rule on changes; empty for a rule on new objects.
	before string
	// accepted and refused are specs, in YAML.
	accepted []string
	refused  []string
	// instead is the message that is given before the rule has a chance; empty for the rule's own.
	instead string
	// names are for rules on names: the spec is the kind's plainest.
	goodNames, badNames []string
}

// TestCEL proves each rule both ways: it lets right objects through, and refuses wrong ones with its own message.
func TestCEL(t *testing.T) {
	s := newScene(t)
	for _, c := range celCases() {
		t.Run(c.kind+" "+c.message, func(t *testing.T) {
			g := gomega.NewWithT(t)
			for i, spec := range c.accepted {
				g.Expect(s.offer(c, fmt.Sprintf("a%d", i), spec)).To(gomega.Succeed(), spec)
			}
			for i, spec := range c.refused {
				err := s.offer(c, fmt.Sprintf("r%d", i), spec)
				g.Expect(apierrors.IsInvalid(err)).To(gomega.BeTrue(), "%v\n%s", err, spec)
				g.Expect(err.Error()).To(gomega.ContainSubstring(cmp.Or(c.instead, c.message)), spec)
			}
			for _, name := range c.goodNames {
				g.Expect(s.dryRun(c.kind, name, plainSpecs[c.kind])).To(gomega.Succeed(), name)
			}
			for _, name := range c.badNames {
				err := s.dryRun(c.kind, name, plainSpecs[c.kind])
				g.Expect(apierrors.IsInvalid(err)).To(gomega.BeTrue(), "%v\n%s", err, name)
				g.Expect(err.Error()).To(gomega.ContainSubstring(c.message), name)
			}
		})
	}
}

// offer asks the API server whether it would take a new object, or a change of one that is really there.
func (s *scene) offer(c celCase, name, spec string) error {
	if c.before == "" {
		return s.dryRun(c.kind, name, spec)
	}
	name += "-" + naming.Hash(c.kind + c.path + c.message)[:8]
	obj, err := s.object(c.kind, name, c.before)
	if err != nil {
		return err
	}
	if err := k8s.Create(s.ctx, obj); err != nil {
		return fmt.Errorf("making what is to be changed: %w", err)
	}
	change, err := s.object(c.kind, name, spec)
	if err != nil {
		return err
	}
	change.SetResourceVersion("")
	return k8s.Patch(s.ctx, change, client.Merge, client.DryRunAll)
}

func (s *scene) dryRun(kind, name, spec string) error {
	obj, err := s.object(kind, name, spec)
	if err != nil {
		return err
	}
	return k8s.Create(s.ctx, obj, client.DryRunAll)
}

func (s *scene) object(kind, name, spec string) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kohort.dev/v1alpha1", "kind": kind}}
	obj.SetName(name)
	obj.SetNamespace(s.namespace)
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		return nil, fmt.Errorf("%w in %s", err, spec)
	}
	obj.Object["spec"] = content
	return obj, nil
}

// TestCELIsComplete counts the rules in the CRDs: a rule without a case, or a case without a rule, fails.
func TestCELIsComplete(t *testing.T) {
	inSchema := map[string]int{}
	files, err := filepath.Glob(filepath.Join("..", "config", "crd", "kohort.dev_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the CRDs: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, crd); err != nil {
			t.Fatal(err)
		}
		for _, version := range crd.Spec.Versions {
			rules(version.Schema.OpenAPIV3Schema, "", func(path, message string) {
				inSchema[crd.Spec.Names.Kind+" "+path+": "+message]++
			})
		}
	}
	inCases := map[string]int{}
	for _, c := range celCases() {
		inCases[c.kind+" "+c.path+": "+c.message]++
		if len(c.accepted)+len(c.goodNames) == 0 || len(c.refused)+len(c.badNames) == 0 {
			t.Errorf("%s %s: %s: needs something accepted and something refused", c.kind, c.path, c.message)
		}
	}
	for rule, n := range inSchema {
		if inCases[rule] != n {
			t.Errorf("%d rules and %d cases: %s", n, inCases[rule], rule)
		}
	}
	for rule := range inCases {
		if inSchema[rule] == 0 {
			t.Errorf("a case without a rule: %s", rule)
		}
	}
	if len(inSchema) < 30 {
		t.Errorf("only %d rules were found; is the walk over the schema broken?", len(inSchema))
	}
}

// rules walks a schema.
func rules(schema *apiextensionsv1.JSONSchemaProps, path string, found func(path, message string)) {
	if schema == nil {
		return
	}
	for _, rule := range schema.XValidations {
		found(strings.TrimPrefix(path, "."), rule.Message)
	}
	names := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		property := schema.Properties[name]
		rules(&property, path+"."+name, found)
	}
	if schema.Items != nil {
		rules(schema.Items.Schema, path+"[]", found)
	}
	if schema.AdditionalProperties != nil {
		rules(schema.AdditionalProperties.Schema, path+"{}", found)
	}
}
