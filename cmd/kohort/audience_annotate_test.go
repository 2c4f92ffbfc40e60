package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"kohort.dev/kohort/api/v1alpha1"
)

func TestApproveAndRollback(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	held := &v1alpha1.HeldChange{Token: "8-5f3a09c2", Entering: 3, Leaving: 900, Since: metav1.NewTime(noon)}
	back := func(to int64) func(context.Context, io.Writer, client.Client, string, string) error {
		return func(ctx context.Context, out io.Writer, c client.Client, namespace, name string) error {
			return rollback(ctx, out, c, namespace, name, to)
		}
	}
	for _, c := range []struct {
		why         string
		call        func(context.Context, io.Writer, client.Client, string, string) error
		annotations map[string]string
		held        *v1alpha1.HeldChange
		name        string
		says, fails string
		key, value  string // annotation afterwards
	}{
		{"a change is let through", approve, nil, held, "vip", "3 customers enter and 900 leave, as computed at 2026-11-23 12:00:00", "", v1alpha1.ApproveAnnotation, "8-5f3a09c2"},
		{"another one was before", approve, map[string]string{v1alpha1.ApproveAnnotation: "7-x"}, held, "vip", "900 leave", "", v1alpha1.ApproveAnnotation, "8-5f3a09c2"},
		{"nothing is kept back", approve, nil, nil, "vip", "No change of Audience vip is kept back", "", v1alpha1.ApproveAnnotation, ""},
		{"no such audience", approve, nil, nil, "other", "", "kubectl get audiences -A", "", ""},
		{"members of before", back(7), nil, nil, "vip", "gets the members of revision 7 back", "", v1alpha1.RollbackAnnotation, "7"},
		{"of the newest revision", back(9), nil, nil, "vip", "", "newest revision", v1alpha1.RollbackAnnotation, ""},
		{"the rule again", back(0), map[string]string{v1alpha1.RollbackAnnotation: "7"}, nil, "vip", "goes by its rule again", "", v1alpha1.RollbackAnnotation, ""},
		{"the rule already", back(0), nil, nil, "vip", "goes by its rule already", "", v1alpha1.RollbackAnnotation, ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "vip", Namespace: "crm", Annotations: c.annotations}}
			a.Status.Revision, a.Status.Held = new(int64(9)), c.held
			objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(a).WithStatusSubresource(a).Build()
			var out bytes.Buffer
			err := c.call(t.Context(), &out, objects, "crm", c.name)
			var next *hinted
			if c.fails != "" && (!errors.As(err, &next) || !strings.Contains(next.next, c.fails)) || c.fails == "" && err != nil {
				t.Errorf("error %v, want one with the hint %q", err, c.fails)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("says %q, want %q", out.String(), c.says)
			}
			if c.key == "" {
				return
			}
			if err := objects.Get(t.Context(), client.ObjectKey{Namespace: "crm", Name: "vip"}, a); err != nil {
				t.Fatal(err)
			}
			if got := a.Annotations[c.key]; got != c.value {
				t.Errorf("%s is %q, want %q", c.key, got, c.value)
			}
		})
	}
}
