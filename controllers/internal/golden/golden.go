// Package golden compares what builders build with files that people review. "go test -update" writes the files.
package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Compare fails t when objects are not those of testdata/<name>.yaml.
func Compare(t *testing.T, name string, objects ...runtime.ApplyConfiguration) {
	t.Helper()
	var got bytes.Buffer
	for _, object := range objects {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		readable, err := yaml.JSONToYAML(text)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n")
		got.Write(readable)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; \"go test -update\" writes it", err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what is built now (- want, + got); if the change is right, \"go test -update\" writes it:\n%s", file, diff)
	}
}
