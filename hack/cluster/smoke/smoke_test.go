//go:build smoke

// Package smoke tries the local cluster as its users will: it starts one, runs
// restricted pods with volumes, Services and Jobs in it, breaks it, repairs it
// and takes it away. It needs root and a machine without a cluster:
//
//	go -C hack/cluster test -tags smoke -count 1 -v ./smoke
package smoke

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kohort.dev/kohort/hack/images/image"
)

const (
	nodeAddress = "10.244.0.1"
	limit       = 90 * time.Second
)

// cluster is one that this test started.
type cluster struct {
	t          *testing.T
	kubeconfig string
	kubectl    string
	state      string
}

func TestLocalCluster(t *testing.T) {
	if err := exec.Command("../cluster", "status").Run(); err == nil {
		t.Fatal("a cluster is up on this machine, perhaps in use: take it down first")
	}
	before := leftovers(t)

	c := &cluster{t: t}
	t.Cleanup(func() {
		c.script("down")
		c.script("down") // there is nothing to do, and no error
		compare(t, before, leftovers(t))
	})
	c.kubeconfig = strings.TrimSpace(c.script("up"))
	c.state = filepath.Dir(c.kubeconfig)
	c.kubectl = filepath.Join(strings.TrimSpace(c.script("tools", "envtest")), "kubectl")

	began := time.Now()
	c.script("up")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a second up took %s, want less than 3 s", took)
	}
	c.run("get", "node", "kohort", "-o", "wide")
	c.run("wait", "--for=condition=Ready", "node/kohort", "--timeout=1s")

	c.loadProbe()
	c.run("apply", "-f", "smoke.yaml")
	c.run("-n", "smoke", "rollout", "status", "statefulset/probe", "--timeout=90s")
	t.Log("a restricted pod with a volume is ready")

	// The volume belongs to the pod's fsGroup, and the server wrote once.
	c.want("through port-forward", c.forward(), "group 4242\nstarted\n")
	if log := c.run("-n", "smoke", "logs", "probe-0"); log != "probe serves\n" {
		t.Errorf("logs: %q", log)
	}
	if said := c.run("-n", "smoke", "exec", "probe-0", "--", "/probe", "say", "hello"); said != "hello\n" {
		t.Errorf("exec: %q", said)
	}

	c.refusesPrivilege()
	c.job()

	// A killed pod comes back with its volume.
	c.run("-n", "smoke", "delete", "pod", "probe-0", "--now")
	c.run("-n", "smoke", "rollout", "status", "statefulset/probe", "--timeout=90s")
	c.want("after a restart", c.forward(), "group 4242\nstarted\nstarted\n")

	c.repair()
	c.releasesVolume()
}

// script runs the cluster's script and returns its standard output.
func (c *cluster) script(args ...string) string {
	c.t.Helper()
	command := exec.Command("../cluster", args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	began := time.Now()
	if err := command.Run(); err != nil {
		c.t.Fatalf("cluster %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	c.t.Logf("cluster %s took %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	return stdout.String()
}

// run runs kubectl and returns its standard output.
func (c *cluster) run(args ...string) string {
	c.t.Helper()
	output, err := c.try(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return output
}

func (c *cluster) try(args ...string) (string, error) {
	command := exec.Command(c.kubectl, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (c *cluster) want(what, got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// loadProbe builds the image of the test's own program and loads it.
func (c *cluster) loadProbe() {
	c.t.Helper()
	directory := c.t.TempDir()
	program := filepath.Join(directory, "probe")
	build := exec.Command("go", "build", "-o", program, "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("building the probe: %v\n%s", err, output)
	}
	layer, err := image.NewLayer([]image.Entry{{Path: "/probe", Mode: 0o755, Source: program}, {Path: "/data", Mode: 0o755}})
	if err != nil {
		c.t.Fatal(err)
	}
	img, err := image.Build(image.Spec{Architecture: runtime.GOARCH, Layers: []*image.Layer{layer}, Entrypoint: []string{"/probe"}, User: "65532:65532"})
	if err != nil {
		c.t.Fatal(err)
	}
	archive := filepath.Join(directory, "probe.tar")
	if _, err := image.WriteArchive(archive, "kohort.dev/smoke-probe:dev", img); err != nil {
		c.t.Fatal(err)
	}
	c.script("load", archive)
	c.script("load", archive)
}

// forward asks the server through kubectl port-forward, which is started
// again while the pod is not ready.
func (c *cluster) forward() string {
	c.t.Helper()
	var last error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var answer string
		if answer, last = c.forwardOnce(); last == nil {
			return answer
		}
	}
	c.t.Fatalf("port-forward: %v", last)
	return ""
}

func (c *cluster) forwardOnce() (answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, c.kubectl, "-n", "smoke", "port-forward", "service/probe", ":80")
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := command.Start(); err != nil {
		return "", err
	}
	defer func() {
		cancel()
		_ = command.Wait() // it was killed
	}()
	var port int
	if _, err := fmt.Fscanf(stdout, "Forwarding from 127.0.0.1:%d", &port); err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// refusesPrivilege expects Pod Security to refuse a pod that asks for root.
func (c *cluster) refusesPrivilege() {
	c.t.Helper()
	_, err := c.try("-n", "smoke", "run", "root", "--image=kohort.dev/smoke-probe:dev", "--privileged")
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		c.t.Errorf("a privileged pod in a restricted namespace: got %v, want a refusal", err)
	}
}

// job runs a Job that reaches a Service by its name, the API server and a
// server on the node, and reads its termination message.
func (c *cluster) job() {
	c.t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "the node")
	}))
	listener, err := net.Listen("tcp", nodeAddress+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	defer server.Close()

	manifest, err := os.ReadFile("job.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "job.yaml")
	if err := os.WriteFile(file, bytes.Replace(manifest, []byte("NODE-URL"), []byte(server.URL), 1), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run("apply", "-f", file)
	if _, err := c.try("-n", "smoke", "wait", "--for=condition=Complete", "job/try", "--timeout=60s"); err != nil {
		c.t.Fatalf("%v\n%s", err, c.run("-n", "smoke", "logs", "job/try"))
	}
	message := c.run("-n", "smoke", "get", "pods", "-l", "job-name=try", "-o",
		"jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}")
	var report map[string]string
	if err := json.Unmarshal([]byte(message), &report); err != nil {
		c.t.Fatalf("termination message %q: %v", message, err)
	}
	c.want("the Service", report["service"], "group 4242\nstarted\n")
	c.want("the node", report["node"], "the node")
	c.want("the API server", report["api"], "10.96.0.1:443")
}

// repair kills parts of the cluster and expects up to start just those.
func (c *cluster) repair() {
	c.t.Helper()
	pod := c.run("-n", "smoke", "get", "pod", "probe-0", "-o", "jsonpath={.metadata.uid}")
	pids := map[string]int{}
	for _, name := range []string{"etcd", "kubelet", "kube-scheduler", "containerd", "kube-apiserver"} {
		data, err := os.ReadFile(filepath.Join(c.state, "processes", name+".json"))
		if err != nil {
			c.t.Fatal(err)
		}
		var record struct {
			PID int `json:"pid"`
		}
		if err := json.Unmarshal(data, &record); err != nil {
			c.t.Fatal(err)
		}
		pids[name] = record.PID
	}
	for _, name := range []string{"kubelet", "kube-scheduler", "containerd", "etcd"} {
		if err := syscall.Kill(pids[name], syscall.SIGKILL); err != nil {
			c.t.Fatalf("killing %s: %v", name, err)
		}
	}
	c.script("up")
	repaired := time.Now()
	if err := syscall.Kill(pids["kube-apiserver"], 0); err != nil {
		c.t.Errorf("the API server, which was not dead, was started anew: %v", err)
	}
	if again := c.run("-n", "smoke", "get", "pod", "probe-0", "-o", "jsonpath={.metadata.uid}"); again != pod {
		c.t.Error("the pod did not outlive the death of containerd and kubelet")
	}
	c.want("after the repair", c.forward(), "group 4242\nstarted\nstarted\n")
	c.t.Logf("the pod was reachable %.1f s after the repair", time.Since(repaired).Seconds())
	c.run("-n", "smoke", "delete", "pod", "probe-0", "--now")
	c.run("-n", "smoke", "rollout", "status", "statefulset/probe", "--timeout=90s")
}

// releasesVolume expects a volume's directory to go with its claim.
func (c *cluster) releasesVolume() {
	c.t.Helper()
	volumes := filepath.Join(c.state, "volumes")
	if entries, err := os.ReadDir(volumes); err != nil || len(entries) != 1 {
		c.t.Fatalf("volumes: %v, %v; want one", entries, err)
	}
	c.run("delete", "namespace", "smoke", "--timeout=60s")
	for deadline := time.Now().Add(limit); ; time.Sleep(200 * time.Millisecond) {
		entries, err := os.ReadDir(volumes)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatal("the volume's directory is still there after its claim has gone")
		}
	}
}

// leftovers lists what a cluster could leave on the machine.
func leftovers(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, script := range map[string]string{
		"network devices": "ip -br link | awk '{print $1}'",
		"routes":          "ip route",
		"mounts":          "awk '{print $5}' /proc/self/mountinfo",
		"firewall":        "(iptables-save; ip6tables-save) | grep -E '^(-A|:(KUBE|CNI))'",
		"control groups":  "find /sys/fs/cgroup -type d",
		// Others may test with an API server of their own: these have the state
		// directory among their arguments, or run in its containers.
		"processes":   "ps -eo stat,args | grep -E '/var/lib/kohort-cluster| /(coredns|pause|probe)( |$)' | grep -vE '^Z|grep'",
		"directories": "ls -d /var/lib/kohort-cluster /var/lib/kubelet /var/lib/cni /run/containerd /var/log/containers /var/log/pods /run/netns/* /opt/containerd /opt/cni",
		"kernel":      "sysctl -n net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.route_localnet vm.overcommit_memory kernel.panic kernel.panic_on_oops",
	} {
		output, err := exec.Command("bash", "-c", "{ "+script+"; } 2>/dev/null | sort").Output()
		if err != nil {
			t.Fatalf("listing %s: %v", name, err)
		}
		found[name] = slices.DeleteFunc(strings.Split(string(output), "\n"), func(line string) bool { return line == "" })
	}
	return found
}

func compare(t *testing.T, before, after map[string][]string) {
	t.Helper()
	for name, now := range after {
		for _, line := range now {
			if !slices.Contains(before[name], line) {
				t.Errorf("left behind, %s: %s", name, line)
			}
		}
	}
}
