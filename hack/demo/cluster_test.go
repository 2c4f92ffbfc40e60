package main

import (
	"strings"
	"testing"
)

func TestChooseCluster(t *testing.T) {
	for _, test := range []struct {
		why  string
		env  map[string]string
		want string // part of the description, or of the error
		ok   bool
	}{
		{"without a wish it is the local cluster, whatever the person's current context is", map[string]string{"KUBECONFIG": "/home/me/.kube/config"}, "the local cluster", true},
		{"kind is asked for by name", map[string]string{"CLUSTER": "kind"}, "kind", true},
		{"an existing cluster is the one of KUBECONFIG", map[string]string{"CLUSTER": "existing", "KUBECONFIG": "here"}, "/here", true},
		{"without KUBECONFIG it is unclear which one", map[string]string{"CLUSTER": "existing"}, "KUBECONFIG", false},
		{"two files leave it unclear too", map[string]string{"CLUSTER": "existing", "KUBECONFIG": "a:b"}, "one file", false},
		{"a typing error is not the default", map[string]string{"CLUSTER": "Kind"}, "choose local, kind or existing", false},
	} {
		c, err := chooseCluster("/repository", func(name string) string { return test.env[name] })
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = c.describe()
		}
		if (err == nil) != test.ok || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q", test.why, got)
		}
	}
}
