package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testToolbox(t *testing.T, cache string) toolbox {
	t.Helper()
	tools, err := newToolbox(".", cache, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// The versions are written in go.mod, for Go, and in the program, for the
// names of files and what the API server says of itself.
func TestVersionsAreThoseOfTheModules(t *testing.T) {
	for file, want := range map[string]string{
		"binaries/kubernetes/go.mod": "k8s.io/kubernetes " + kubernetesVersion,
		"binaries/etcd/go.mod":       "go.etcd.io/etcd/server/v3 " + etcdVersion,
		"binaries/coredns/go.mod":    "github.com/coredns/coredns " + corednsVersion,
		"manifests/dns.yaml":         "image: kohort.dev/coredns:" + corednsVersion,
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), want+"\n") {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}

func TestManifestsNameTheNetworkAsItIs(t *testing.T) {
	data, err := manifests.ReadFile("manifests/dns.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"clusterIP: " + dnsAddress + "\n", "kubernetes " + clusterDomain + " "} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the DNS server's manifest does not say %q", want)
		}
	}
}

func TestProgramName(t *testing.T) {
	for pkg, want := range map[string]string{
		"k8s.io/kubernetes/cmd/kubelet": "kubelet",
		"go.etcd.io/etcd/server/v3":     "server", // a version is no name
		"example.com/server/vv":         "vv",
		"./local-volumes":               "local-volumes",
	} {
		if got := programName(pkg); got != want {
			t.Errorf("%s: got %s, want %s", pkg, got, want)
		}
	}
}

func TestEnvtestHonoursAssets(t *testing.T) {
	assets := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	tools := testToolbox(t, t.TempDir())
	if _, err := tools.envtest(t.Context()); err == nil || !strings.Contains(err.Error(), "KUBEBUILDER_ASSETS") {
		t.Errorf("a directory without the programs: got %v", err)
	}
	for _, name := range envtestTools() {
		if err := os.WriteFile(filepath.Join(assets, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := tools.envtest(t.Context()); err != nil || got != assets {
		t.Errorf("got %s, %v; want %s", got, err, assets)
	}
}

func TestEnvtestLinksWhatWasBuilt(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	tools := testToolbox(t, t.TempDir())
	for _, name := range envtestTools() {
		if err := os.MkdirAll(filepath.Dir(tools.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(tools.path(name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second call finds the links of the first
		directory, err := tools.envtest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range envtestTools() {
			if data, err := os.ReadFile(filepath.Join(directory, name)); err != nil || string(data) != name {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
	}
}

func TestBuildRefusesAnUnknownTool(t *testing.T) {
	if err := testToolbox(t, t.TempDir()).build(t.Context(), "kubeadm"); err == nil {
		t.Error("a tool that is none was built")
	}
}
