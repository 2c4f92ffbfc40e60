//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/manifests"
	"kohort.dev/kohort/test/demo/world"
)

// cluster is kubectl for the cluster under test.
func cluster(t *testing.T) kubectl.Kubectl {
	t.Helper()
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		t.Fatal("KUBECONFIG is not set: start the tests with make e2e, or name a cluster that has Kohort")
	}
	program := os.Getenv("KOHORT_KUBECTL")
	if program == "" {
		program = "kubectl"
	}
	return kubectl.Kubectl{Program: program, Kubeconfig: kubeconfig}
}

// lab is a shop in a namespace of the test's own. The namespace is deleted when the test ends, which must work.
func lab(t *testing.T, namespace string) world.World {
	t.Helper()
	images := map[string]string{}
	for repository, variable := range map[string]string{
		"kohort.dev/kohort-demo": "KOHORT_DEMO_IMAGE", "kohort.dev/kohort-postgres": "KOHORT_POSTGRES_IMAGE",
	} {
		if reference := os.Getenv(variable); reference != "" {
			images[repository] = reference
		}
	}
	w := world.World{
		Kubectl: cluster(t).In(namespace),
		Place:   manifests.Place{Namespace: namespace, Images: images},
		Say:     t.Logf,
		Now:     time.Now,
	}
	forget(t, w) // what an interrupted run left
	t.Cleanup(func() {
		if t.Failed() {
			report(t, w)
		}
		forget(t, w)
	})
	return w
}

// forget deletes a namespace with everything in it, as a person would: Kohort must let it go.
func forget(t *testing.T, w world.World) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if _, err := w.Kubectl.In("").Run(ctx, "delete", "namespace", w.Place.Namespace, "--ignore-not-found", "--timeout=3m"); err != nil {
		t.Errorf("deleting the namespace: %v", err)
	}
}

// report prints what a person would look at when something went wrong.
func report(t *testing.T, w world.World) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods,jobs", "-o", "wide"},
		{"get", "platforms,sources,audiences,destinations,syncs,retentionpolicies", "-o", "wide"},
		{"get", "events", "--field-selector", "type=Warning", "--sort-by", "lastTimestamp"},
		{"logs", "deployment/shop-engine", "--tail=30"},
		{"logs", "statefulset/shop-store", "--all-containers", "--tail=15"},
		{"logs", "--namespace=kohort-system", "deployment/kohort-operator", "--tail=30"},
	} {
		out, err := w.Kubectl.Run(ctx, args...)
		t.Logf("$ kubectl %s\n%s%v", strings.Join(args, " "), out, err)
	}
}

// apply applies YAML that a test wrote, indented with tabs as Go is.
func apply(t *testing.T, w world.World, yaml string) {
	t.Helper()
	if err := w.Kubectl.Apply(t.Context(), []byte(strings.ReplaceAll(yaml, "\t", "  "))); err != nil {
		t.Fatal(err)
	}
}

// edit applies a manifest of the demo with one text replaced, as a person edits YAML.
func edit(t *testing.T, w world.World, file, from, to string) {
	t.Helper()
	text, err := w.Place.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(from)) {
		t.Fatalf("%s does not contain %q", file, from)
	}
	if err := w.Kubectl.Apply(t.Context(), bytes.ReplaceAll(text, []byte(from), []byte(to))); err != nil {
		t.Fatal(err)
	}
}

// must fails the test at once.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await asks until nothing is missing.
func await(t *testing.T, limit time.Duration, missing func(context.Context) (string, error)) {
	t.Helper()
	if err := world.Until(t.Context(), limit, missing); err != nil {
		t.Fatal(err)
	}
}

// object is any of Kohort's kinds as far as conditions go.
type object struct {
	Metadata metav1.ObjectMeta     `json:"metadata"`
	Status   v1alpha1.CommonStatus `json:"status"`
}

// condition reads one condition of an object such as audience/vip; nil when it is not there.
func condition(ctx context.Context, w world.World, name, kind string) (*metav1.Condition, error) {
	var o object
	resource, object, _ := strings.Cut(name, "/")
	if err := w.Kubectl.Get(ctx, resource, object, &o); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(o.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if at < 0 {
		return nil, nil
	}
	return &o.Status.Conditions[at], nil
}

// expectCondition waits until an object has a condition with a status and reason, and returns its message.
func expectCondition(t *testing.T, w world.World, name, kind string, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	var message string
	await(t, 2*time.Minute, func(ctx context.Context) (string, error) {
		c, err := condition(ctx, w, name, kind)
		if err != nil {
			return "", err
		}
		if c == nil {
			return fmt.Sprintf("%s has no condition %s", name, kind), nil
		}
		if c.Status != status || c.Reason != reason {
			return fmt.Sprintf("%s is %s=%s %s (%s), want %s %s", name, kind, c.Status, c.Reason, c.Message, status, reason), nil
		}
		message = c.Message
		return "", nil
	})
	return message
}

// sameMembers compares who is there with who should be.
func sameMembers(t *testing.T, where string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("%s does not hold the right members (-want +got):\n%s", where, diff)
	}
}

// sync reads a Sync.
func sync(ctx context.Context, w world.World, name string) (v1alpha1.Sync, error) {
	var s v1alpha1.Sync
	err := w.Kubectl.Get(ctx, "sync", name, &s)
	return s, err
}
