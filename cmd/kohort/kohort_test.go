package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"kohort.dev/kohort/internal/engine"
	known "kohort.dev/kohort/internal/profile"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// answer is one of the engine, made with its own types.
func answer(t *testing.T) []byte {
	t.Helper()
	out, err := json.Marshal(engine.Profile{
		Profile: &known.Profile{
			ID: "8f14e45f-0000-5000-8000-000000000001", Created: noon,
			Identifiers: map[string][]string{"email": {"ada@example.com"}, "userId": {"42", "\x1b[31mred"}},
			Traits:      map[string]known.Trait{"plan": {Value: json.RawMessage(`"pro"`), Source: "crm", Occurred: noon}},
			Audiences:   []known.Audience{{Name: "vip", Since: noon}},
			Events:      []known.Event{{Name: "Order Completed", Occurred: noon, Source: "web", Properties: json.RawMessage(`{"total":12.5,"note":"` + strings.Repeat("x", 100) + `"}`)}},
		},
		Touchpoints: []engine.Touchpoint{{Source: "web", Events: 7, First: noon.Add(-time.Hour), Last: noon}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := showTable(&out, answer(t)); err != nil {
		t.Fatal(err)
	}
	want := `Profile       8f14e45f-0000-5000-8000-000000000001
Known since   2026-11-23 11:00:00

Identifiers
  TYPE     VALUE
  email    ada@example.com
  userId   42
  userId   ·[31mred

Touchpoints
  SOURCE   EVENTS   FIRST                 LAST
  web      7        2026-11-23 11:00:00   2026-11-23 12:00:00

Traits
  NAME   VALUE   FROM   AS OF
  plan   "pro"   crm    2026-11-23 12:00:00

Audiences
  NAME   SINCE
  vip    2026-11-23 12:00:00

Latest events
  TIME                  EVENT             SOURCE   PROPERTIES
  2026-11-23 12:00:00   Order Completed   web      {"total":12.5,"note":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestJSONAndYAML(t *testing.T) {
	for name, show := range map[string]func() (string, error){
		"json": func() (string, error) { var b bytes.Buffer; err := showJSON(&b, answer(t)); return b.String(), err },
		"yaml": func() (string, error) { var b bytes.Buffer; err := showYAML(&b, answer(t)); return b.String(), err },
	} {
		out, err := show()
		if err != nil || !strings.Contains(out, "ada@example.com") || !strings.Contains(out, "touchpoints") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.EscapedPath() != "/v1/profiles/email:a%2Fb@example.com" || r.URL.Query().Get("events") != "3" {
			http.Error(w, "unexpected request "+r.URL.String(), http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":{"code":"ProfileNotFound","message":"no customer is known by this identifier"}}`))
	}))
	defer server.Close()
	_, err := endpoint{server.URL, "secret"}.ask(t.Context(), http.MethodGet, profilePath("email:a/b@example.com", 3), nil)
	var next *hinted
	if err == nil || !strings.Contains(err.Error(), "no customer is known") || !errors.As(err, &next) {
		t.Errorf("got %v, want the engine's message and a hint", err)
	}
}

func TestErrorsSayTheNextStep(t *testing.T) {
	label := map[string]string{"kohort.dev/platform": "shop", "kohort.dev/component": "engine"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop-engine-1", Namespace: "crm", Labels: label}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, c := range []struct {
		why, says string
		objects   *fake.Clientset
		call      func(c *connection) error
	}{
		{"another name or namespace", "kubectl get platforms -A", fake.NewClientset(), func(c *connection) error { _, err := c.token(t.Context(), "shop"); return err }},
		{"no pod: suspended, or not there yet", "get platform shop", fake.NewClientset(), func(c *connection) error { _, err := c.enginePod(t.Context(), "shop"); return err }},
		{"a pod that is not ready", "describe pod shop-engine-1", fake.NewClientset(pod), func(c *connection) error { _, err := c.enginePod(t.Context(), "shop"); return err }},
	} {
		err := c.call(&connection{client: c.objects, namespace: "crm"})
		var next *hinted
		if !errors.As(err, &next) || !strings.Contains(next.next, c.says) {
			t.Errorf("%s: %v, want a hint with %q", c.why, err, c.says)
		}
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if name, err := (&connection{client: fake.NewClientset(pod), namespace: "crm"}).enginePod(t.Context(), "shop"); name != "shop-engine-1" || err != nil {
		t.Errorf("a ready pod: %q, %v", name, err)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"profile", "get", "ada@example.com", "--platform", "shop"}, "is no identifier"},
		{[]string{"profile", "get", "userId:42"}, "--platform"},
		{[]string{"profile", "get", "userId:42", "--platform", "shop", "-o", "xml"}, "none of table, json and yaml"},
		{[]string{"profile", "get", "userId:42", "--platform", "shop", "--kubeconfig", "/does/not/exist"}, "kubeconfig"},
	} {
		root := newRoot()
		root.SetArgs(c.args)
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.args, err, c.says)
		}
	}
}
