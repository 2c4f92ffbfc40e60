package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// component is a long-running process of the cluster.
type component struct {
	name    string
	command []string
	// config is the file of its configuration, if it has one: a change of it
	// starts the process anew, as a change of the command does.
	config string
	// ports are where it listens: all must be free before it starts.
	ports []int
	// ready is nil when it serves.
	ready func(context.Context) error
	// patience is how long it may take to start on a slow machine.
	patience time.Duration
}

// etcd returns what keeps the API server's objects.
func (l layout) etcd(tools toolbox) component {
	client := "https://127.0.0.1:" + strconv.Itoa(etcdPort)
	peer := "https://127.0.0.1:" + strconv.Itoa(etcdPeerPort)
	health := "http://127.0.0.1:" + strconv.Itoa(etcdHTTPPort)
	return component{
		name: "etcd",
		command: []string{
			tools.path("etcd"),
			"--name=" + nodeName,
			"--data-dir=" + l.path("etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=" + nodeName + "=" + peer,
			"--listen-metrics-urls=" + health,
			"--client-cert-auth",
			"--trusted-ca-file=" + l.certificate("etcd-ca"),
			"--cert-file=" + l.certificate("etcd"),
			"--key-file=" + l.key("etcd"),
			"--peer-client-cert-auth",
			"--peer-trusted-ca-file=" + l.certificate("etcd-ca"),
			"--peer-cert-file=" + l.certificate("etcd"),
			"--peer-key-file=" + l.key("etcd"),
			// A cluster that is thrown away need not survive a power cut, and
			// slow disks make a slow API server.
			"--unsafe-no-fsync",
		},
		ports:    []int{etcdPort, etcdPeerPort, etcdHTTPPort},
		ready:    func(ctx context.Context) error { return answersOK(ctx, health+"/health") },
		patience: 30 * time.Second,
	}
}

// containerd returns what runs kubelet's containers.
func (l layout) containerd() component {
	return component{
		name:     "containerd",
		command:  []string{"containerd", "--config", l.config("containerd.toml")},
		config:   l.config("containerd.toml"),
		ready:    l.containerdAnswers,
		patience: 30 * time.Second,
	}
}

// apiServer returns the API server.
func (l layout) apiServer(tools toolbox, api *apiClient) component {
	return component{
		name: "kube-apiserver",
		command: []string{
			tools.path("kube-apiserver"),
			"--advertise-address=" + nodeAddress,
			"--secure-port=" + strconv.Itoa(apiPort),
			"--anonymous-auth=false",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--service-cluster-ip-range=" + serviceRange,
			"--client-ca-file=" + l.certificate("ca"),
			"--tls-cert-file=" + l.certificate("kube-apiserver"),
			"--tls-private-key-file=" + l.key("kube-apiserver"),
			"--etcd-servers=https://127.0.0.1:" + strconv.Itoa(etcdPort),
			"--etcd-cafile=" + l.certificate("etcd-ca"),
			"--etcd-certfile=" + l.certificate("apiserver-to-etcd"),
			"--etcd-keyfile=" + l.key("apiserver-to-etcd"),
			// The node's name resolves nowhere, its address is known.
			"--kubelet-preferred-address-types=InternalIP",
			"--kubelet-certificate-authority=" + l.certificate("ca"),
			"--kubelet-client-certificate=" + l.certificate("apiserver-to-kubelet"),
			"--kubelet-client-key=" + l.key("apiserver-to-kubelet"),
			"--requestheader-client-ca-file=" + l.certificate("front-proxy-ca"),
			"--requestheader-allowed-names=front-proxy",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User",
			"--proxy-client-cert-file=" + l.certificate("front-proxy"),
			"--proxy-client-key-file=" + l.key("front-proxy"),
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + l.key("service-accounts"),
			"--service-account-signing-key-file=" + l.key("service-accounts"),
		},
		ports:    []int{apiPort},
		ready:    api.isReady,
		patience: 90 * time.Second,
	}
}

// controllers returns what works on the API server's objects.
func (l layout) controllers(tools toolbox) []component {
	manager, scheduler := l.kubeconfigOf("kube-controller-manager"), l.kubeconfigOf("kube-scheduler")
	return []component{
		{
			name: "kube-controller-manager",
			command: []string{
				tools.path("kube-controller-manager"),
				"--kubeconfig=" + manager,
				"--authentication-kubeconfig=" + manager,
				"--authorization-kubeconfig=" + manager,
				"--bind-address=127.0.0.1",
				"--leader-elect=false", // there is one
				"--use-service-account-credentials",
				"--service-account-private-key-file=" + l.key("service-accounts"),
				"--root-ca-file=" + l.certificate("ca"),
				"--cluster-signing-cert-file=" + l.certificate("ca"),
				"--cluster-signing-key-file=" + l.key("ca"),
				"--service-cluster-ip-range=" + serviceRange,
				"--flex-volume-plugin-dir=" + l.path("kubelet", "plugins"),
			},
			ports: []int{10257},
		},
		{
			name: "kube-scheduler",
			command: []string{
				tools.path("kube-scheduler"),
				"--kubeconfig=" + scheduler,
				"--authentication-kubeconfig=" + scheduler,
				"--authorization-kubeconfig=" + scheduler,
				"--bind-address=127.0.0.1",
				"--leader-elect=false",
			},
			ports: []int{10259},
		},
	}
}

// volumeProvisioner returns what makes a volume for each claim.
func (l layout) volumeProvisioner(tools toolbox) component {
	return component{
		name: "local-volumes",
		command: []string{
			tools.path("local-volumes"),
			"--kubeconfig=" + l.kubeconfigOf("local-volumes"),
			"--directory=" + l.volumes(),
		},
	}
}

// node returns what runs pods and what routes Services to them.
func (l layout) node(tools toolbox) (kubelet, proxy component) {
	return component{
			name: "kubelet",
			command: []string{
				tools.path("kubelet"),
				"--config=" + l.config("kubelet.json"),
				"--kubeconfig=" + l.kubeconfigOf("kubelet"),
				"--root-dir=" + l.path("kubelet"),
				"--cert-dir=" + l.path("kubelet", "pki"),
				"--hostname-override=" + nodeName,
				"--node-ip=" + nodeAddress,
			},
			config:   l.config("kubelet.json"),
			ports:    []int{kubeletPort, 10248},
			ready:    func(ctx context.Context) error { return answersOK(ctx, "http://127.0.0.1:10248/healthz") },
			patience: 60 * time.Second,
		},
		component{
			name:    "kube-proxy",
			command: []string{tools.path("kube-proxy"), "--config=" + l.config("kube-proxy.json")},
			config:  l.config("kube-proxy.json"),
			ports:   []int{10249, 10256},
			ready:   func(ctx context.Context) error { return answersOK(ctx, "http://127.0.0.1:10256/healthz") },
			// It waits for the node, which kubelet makes.
			patience: 60 * time.Second,
		}
}

// writeNodeConfig writes the configuration of kubelet and kube-proxy.
func (l layout) writeNodeConfig() error {
	for file, config := range map[string]map[string]any{
		"kubelet.json":    l.kubeletConfig(),
		"kube-proxy.json": l.proxyConfig(),
	} {
		data, err := json.MarshalIndent(config, "", "  ")
		if err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := writeFile(l.config(file), data); err != nil {
			return err
		}
	}
	return nil
}

func (l layout) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"address":    nodeAddress,
		"port":       kubeletPort,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": l.certificate("ca")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"tlsCertFile":              l.certificate("kubelet-server"),
		"tlsPrivateKeyFile":        l.key("kubelet-server"),
		"clusterDNS":               []string{dnsAddress},
		"clusterDomain":            clusterDomain,
		"resolvConf":               resolverFile(),
		"containerRuntimeEndpoint": "unix://" + l.socket(),
		"podLogsDir":               l.path("pod-logs"),
		"volumePluginDir":          l.path("kubelet", "plugins"),
		"oomScoreAdj":              0, // lower needs CAP_SYS_RESOURCE

		// Old kernels and small machines offer version 1 of control groups
		// only; no systemd is assumed to hold them.
		"failCgroupV1":           false,
		"cgroupDriver":           "cgroupfs",
		"enforceNodeAllocatable": []string{},
		"failSwapOn":             false,

		// The disk is the developer's own: its fullness says nothing about
		// the cluster, and images that were loaded cannot be pulled again.
		"localStorageCapacityIsolation": false,
		"imageGCHighThresholdPercent":   100,
		"evictionHard": map[string]string{
			"memory.available":   "100Mi",
			"nodefs.available":   "0%",
			"nodefs.inodesFree":  "0%",
			"imagefs.available":  "0%",
			"imagefs.inodesFree": "0%",
		},
	}
}

func (l layout) proxyConfig() map[string]any {
	return map[string]any{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             "iptables",
		"clusterCIDR":      podRange,
		"hostnameOverride": nodeName,
		"oomScoreAdj":      0,
		// NodePorts are for this machine, not for the network that it is in.
		"nodePortAddresses": []string{"127.0.0.0/8", podRange},
		"clientConnection":  map[string]any{"kubeconfig": l.kubeconfigOf("kube-proxy")},
		// The machine's connection tracking is not this cluster's to tune.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

// resolverFile returns the file with the machine's name servers. systemd's
// resolver listens on a loopback address, which in a pod is the pod's own.
func resolverFile() string {
	const systemd = "/run/systemd/resolve/resolv.conf"
	if _, err := os.Stat(systemd); err == nil {
		return systemd
	}
	return "/etc/resolv.conf"
}

// ensure starts a component unless it runs with the same command. It does not
// wait until it is ready.
func (l layout) ensure(c component) (started bool, err error) {
	running, err := l.isRunning(c)
	if err != nil || running {
		return false, err
	}
	if err := l.stopProcess(c.name, patience); err != nil {
		return false, err
	}
	for _, port := range c.ports {
		if err := isFree(port); err != nil {
			return false, fmt.Errorf("%s cannot start: %w", c.name, err)
		}
	}
	return true, l.startProcess(c)
}

// isFree fails when a process listens on the port.
func isFree(port int) error {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return fmt.Errorf("port %d is taken by another process (%w): end it, or use the cluster that it belongs to", port, err)
	}
	return listener.Close()
}

// awaitReady waits until a component that was started serves. It gives up at
// once when the process has ended.
func (l layout) awaitReady(ctx context.Context, c component) error {
	return waitFor(ctx, c.name, c.patience, func(ctx context.Context) error {
		if err := l.stillRuns(c); err != nil {
			return err
		}
		return c.ready(ctx)
	})
}

// stillRuns fails for good, with the end of its log, when a component ended.
func (l layout) stillRuns(c component) error {
	running, err := l.isRunning(c)
	if err != nil {
		return final{err}
	}
	if running {
		return nil
	}
	log, err := os.ReadFile(l.log(c.name))
	if err != nil {
		return final{fmt.Errorf("it ended, and its log cannot be read: %w", err)}
	}
	return final{fmt.Errorf("it ended; the last lines of %s:\n%s", l.log(c.name), lastLines(string(log), 15))}
}

// answersOK is nil when url answers with status 200.
func answersOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + response.Status)
	}
	return nil
}
