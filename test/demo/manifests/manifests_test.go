package manifests

import (
	"strings"
	"testing"
)

func TestReadMovesManifests(t *testing.T) {
	place := Place{Namespace: "elsewhere", Images: map[string]string{"kohort.dev/kohort-demo": "kohort.dev/kohort-demo:abc"}}
	for _, test := range []struct {
		why, pattern string
		want, not    []string
	}{
		{"the namespace itself gets the name", "00-namespace.yaml", []string{"name: elsewhere", "pod-security.kubernetes.io/enforce: restricted"}, []string{"name: shop"}},
		{"an object of ours moves and keeps its own name", "10-platform.yaml", []string{"namespace: elsewhere", "name: shop"}, nil},
		{"images are those that were built", "world/mailer.yaml", []string{"image: kohort.dev/kohort-demo:abc"}, []string{":0.1.0", "namespace: shop"}},
		{"a pattern takes several files", "4*.yaml", []string{"name: vip", "name: lapsed", "name: winback"}, nil},
	} {
		out, err := place.Read(test.pattern)
		if err != nil {
			t.Fatalf("%s: %v", test.why, err)
		}
		for _, want := range test.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: %q is missing in\n%s", test.why, want, out)
			}
		}
		for _, not := range test.not {
			if strings.Contains(string(out), not) {
				t.Errorf("%s: %q is left in\n%s", test.why, not, out)
			}
		}
	}
	if _, err := place.Read("9*.yaml"); err == nil {
		t.Error("a pattern that matches nothing must be an error")
	}
}
