package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// place is everything that an engine stands in: a real API server, a real warehouse and a real stream.
type place struct {
	t, whole  *testing.T // the part of the test that runs, and the test
	cluster   *rest.Config
	k8s       client.Client
	warehouse *storetest.Process
	js        jetstream.JetStream
	config    Config

	stopEngine func() error
	log        lockedBuffer
}

const namespace, platformName, apiToken = "crm", "shop", "secret-token"

func newPlace(t *testing.T) *place {
	t.Helper()
	environment := &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd")}, ErrorIfCRDPathMissing: true, BinaryAssetsDirectory: assets(),
	}
	cluster, err := environment.Start()
	if err != nil {
		t.Fatalf("starting the API server: %v; \"hack/cluster/cluster tools envtest\" builds it and says where it is", err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	p := &place{t: t, whole: t, cluster: cluster}
	if p.k8s, err = client.New(cluster, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})

	p.warehouse = storetest.StartWarehouse(t, storewarehouse.Config{})
	streamURL, user, password := storetest.Stream(t)
	credentials := warehousetest.Credentials(t, user, password)
	if p.js, err = stream.Connect(t.Context(), streamURL, credentials); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.js.Conn().Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(apiToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.config = Config{
		Namespace: namespace, Platform: platformName,
		WarehouseURL: p.warehouse.URL, WarehouseCredentials: credentials,
		StreamURL: streamURL, StreamCredentials: credentials,
		APITokenFile: token, APIKeysDir: t.TempDir(), Listen: address(t), HealthListen: address(t),
		Kubernetes: cluster, Logger: slog.New(slog.NewTextHandler(&p.log, nil)), Now: time.Now,
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log:\n%s", p.log.String())
		}
	})
	return p
}

// assets is where kube-apiserver and etcd are: what KUBEBUILDER_ASSETS says, else where "make envtest" keeps them.
func assets() string {
	if directory := os.Getenv("KUBEBUILDER_ASSETS"); directory != "" {
		return directory
	}
	home, _ := os.UserHomeDir()
	kept := cmp.Or(os.Getenv("KOHORT_CACHE"), filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "kohort"))
	found, _ := filepath.Glob(filepath.Join(kept, "tools", "envtest-*"))
	slices.Sort(found)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

func address(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// run is a part of a test whose failures are its own.
func (p *place) run(name string, part func(t *testing.T)) {
	defer func() { p.t = p.whole }()
	p.whole.Run(name, func(t *testing.T) {
		p.t = t
		part(t)
	})
}

// start runs an engine until stop, or until the test ends.
func (p *place) start() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, p.config) }()
	p.stopEngine = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(40 * time.Second):
			return errors.New("the engine does not end")
		}
	})
	p.whole.Cleanup(func() { _ = p.stopEngine() })
}

func (p *place) stop() {
	p.t.Helper()
	if err := p.stopEngine(); err != nil {
		p.t.Fatalf("the engine did not end well: %v", err)
	}
}

func (p *place) create(objects ...client.Object) {
	p.t.Helper()
	for _, o := range objects {
		if err := p.k8s.Create(p.t.Context(), o); err != nil {
			p.t.Fatalf("creating %T %s: %v", o, o.GetName(), err)
		}
	}
}

// edit changes an object as a person would.
func edit[T client.Object](p *place, o T, name string, change func(o T)) {
	p.t.Helper()
	if err := p.k8s.Get(p.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		p.t.Fatal(err)
	}
	before := o.DeepCopyObject().(client.Object)
	change(o)
	if err := p.k8s.Patch(p.t.Context(), o, client.MergeFrom(before)); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits until check is nil.
func (p *place) eventually(what string, within time.Duration, check func() error) {
	p.t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// until waits until the status of an object, as JSON, has all of these parts.
func (p *place) until(what string, o client.Object, name string, parts ...string) {
	p.t.Helper()
	p.eventually(what, 30*time.Second, func() error {
		if err := p.k8s.Get(p.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if !strings.Contains(string(text), part) {
				return fmt.Errorf("%s is not in %s", part, text)
			}
		}
		return nil
	})
}

// send publishes events as a collector would have received them at a moment.
func (p *place) send(received time.Time, bodies ...string) {
	p.t.Helper()
	var message []byte
	for _, body := range bodies {
		message = stream.Append(message, stream.Record{Kind: stream.KindEvent, Received: received, Source: "web", Party: "First", Body: []byte(body)})
	}
	if _, err := p.js.Publish(p.t.Context(), stream.Subject("web"), message); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) conn() driver.Conn {
	p.t.Helper()
	conn, err := warehouse.Open(p.t.Context(), p.config.WarehouseURL, p.config.WarehouseCredentials)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// get asks the engine over HTTP.
func (p *place) get(address, path, token string) (status int, body string) {
	p.t.Helper()
	return p.ask(http.MethodGet, address, path, token)
}

func (p *place) ask(method, address, path, token string) (status int, body string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+address+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

func (p *place) ready() error {
	if status, body := p.get(p.config.HealthListen, "/readyz", ""); status != http.StatusOK {
		return fmt.Errorf("%d %s", status, body)
	}
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
