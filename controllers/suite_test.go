package controllers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/workload"
)

// k8s talks to the API server as a person would: not as the operator, and past its caches.
var k8s client.Client

// operatorConfig is the operator's own access to the API server; calls counts what it asks for.
var (
	operatorConfig *rest.Config
	calls          = &ledger{}
)

var testImages = workload.Images{Kohort: "kohort.test/kohort:1", Connector: "kohort.test/connector:1", Store: "kohort.test/store:1"}

func TestMain(m *testing.M) { os.Exit(runSuite(m)) }

func runSuite(m *testing.M) int {
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	environment := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd")},
		ErrorIfCRDPathMissing: true,
		BinaryAssetsDirectory: assets(),
	}
	// Some clusters let only those name an owner who may change its finalizers; the operator must work there too.
	environment.ControlPlane.GetAPIServer().Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	defer func() { // also when it did not start as a whole: a CRD that is refused leaves an API server behind
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		}
	}()
	cluster, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server:", err, "\n\"make envtest\" builds it and says where it is")
		return 1
	}
	cluster.QPS = -1
	if k8s, err = client.New(cluster, client.Options{Scheme: newScheme()}); err != nil {
		fmt.Fprintln(os.Stderr, "making a client:", err)
		return 1
	}
	if err := grant(environment); err != nil {
		fmt.Fprintln(os.Stderr, "giving the operator its rights:", err)
		return 1
	}
	stop, err := startOperator(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the operator:", err)
		return 1
	}
	code := m.Run()
	stop()
	if n := panics(); n > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: reconcilers panicked %v times\n", n)
		return 1
	}
	return code
}

// grant makes the user that the operator runs as, with the rights of config/rbac and no others: a marker that is missing
// fails the tests of what needs it.
func grant(environment *envtest.Environment) error {
	user, err := environment.AddUser(envtest.User{Name: "kohort-operator"}, nil)
	if err != nil {
		return err
	}
	operatorConfig = user.Config()
	text, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "kohort-operator"}},
	}
	return errors.Join(k8s.Create(context.Background(), role), k8s.Create(context.Background(), binding))
}

// assets is where kube-apiserver and etcd are: what KUBEBUILDER_ASSETS says, else where "make envtest" keeps them.
func assets() string {
	if directory := os.Getenv("KUBEBUILDER_ASSETS"); directory != "" {
		return directory
	}
	home, _ := os.UserHomeDir()
	kept := cmp.Or(os.Getenv("KOHORT_CACHE"), filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "kohort"))
	found, _ := filepath.Glob(filepath.Join(kept, "tools", "envtest-*"))
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return found[len(found)-1]
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// current are the reconcilers of the operator that runs, by kind, for tests that make a pass themselves.
var current map[string]reconciler

// startOperator runs an operator until the function that it gives is called.
func startOperator(namespaces []string) (func(), error) {
	counted := rest.CopyConfig(operatorConfig)
	counted.QPS = -1
	counted.UserAgent = "kohort-operator-under-test"
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper { return calls.count(next) })
	skip := true // a second operator in one process uses the same controller names
	mgr, err := ctrl.NewManager(counted, ctrl.Options{
		Scheme: newScheme(), Cache: CacheOptions(namespaces),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Images: testImages, Now: time.Now, Random: rand.Reader, Concurrency: 4}
	reconcilers, err := setup(ctx, mgr, o)
	if err != nil {
		cancel()
		return nil, err
	}
	current = reconcilers
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		cancel()
		return nil, fmt.Errorf("the caches did not fill")
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "the operator ended:", err)
		}
	}, nil
}

// panics is how often a reconciler has panicked; controller-runtime recovers and counts.
func panics() float64 {
	families, err := metrics.Registry.Gather()
	if err != nil {
		panic(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != "controller_runtime_reconcile_panics_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			total += m.GetCounter().GetValue()
		}
	}
	return total
}

// ledger counts requests, by namespace and by verb and resource.
type ledger struct {
	mu      sync.Mutex
	entries map[string][]string
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (l *ledger) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if _, rest, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok {
			namespace, what, _ := strings.Cut(rest, "/")
			l.mu.Lock()
			if l.entries == nil {
				l.entries = map[string][]string{}
			}
			l.entries[namespace] = append(l.entries[namespace], r.Method+" "+what)
			l.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

// of gives the requests in a namespace so far, without those that record Events.
func (l *ledger) of(namespace string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.entries[namespace]), func(e string) bool { return strings.HasSuffix(e, " events") })
}

// scene is one test's namespace with ways to look at it.
type scene struct {
	*gomega.WithT
	t         *testing.T
	ctx       context.Context
	namespace string
}

// newScene makes a namespace. After the test every object of ours in it must obey kstatus.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{WithT: gomega.NewWithT(t), t: t, ctx: t.Context()}
	s.SetDefaultEventuallyTimeout(30 * time.Second)
	s.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	s.Expect(k8s.Create(s.ctx, namespace)).To(gomega.Succeed())
	s.namespace = namespace.Name
	t.Cleanup(func() { s.checkAll() })
	return s
}

func namespaceNamed(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

type runtimeObject = runtime.Object

// childLists are lists of every kind of child.
func childLists() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.StatefulSetList{}, &appsv1.DeploymentList{}, &batchv1.JobList{}, &corev1.ServiceList{}, &corev1.ServiceAccountList{},
		&corev1.SecretList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
		&autoscalingv2.HorizontalPodAutoscalerList{}, &policyv1.PodDisruptionBudgetList{},
	}
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
