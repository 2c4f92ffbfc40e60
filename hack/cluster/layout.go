package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// The cluster's network. The ranges are those that most clusters of this kind
// use, so that they are the least likely to be in use around the machine.
const (
	bridgeName    = "kohort0"        // network device that pods are plugged into
	nodeAddress   = "10.244.0.1"     // the bridge's own address, and the node's
	podRange      = "10.244.0.0/24"  // one address per pod
	serviceRange  = "10.96.0.0/16"   // one address per Service
	serviceRouter = "10.96.0.1"      // the API server's Service
	dnsAddress    = "10.96.0.10"     // the DNS Service
	clusterDomain = "cluster.local"  // suffix of in-cluster names
	nodeName      = "kohort"         // the one node
	networkName   = "kohort-cluster" // CNI network, in the names of its files and rules
	namespace     = "k8s.io"         // containerd's namespace for kubelet's containers
	apiPort       = 6443             // API server
	kubeletPort   = 10250            // kubelet
	etcdPort      = 12379            // beside the usual 2379, where a developer's own etcd may be
	etcdPeerPort  = 12380            //
	etcdHTTPPort  = 12381            // etcd's health, without certificates
	clusterName   = "kohort"         // in kubeconfigs
	defaultState  = "/var/lib/kohort-cluster"
	cniPluginsDir = "/usr/lib/cni" // where Debian puts them
)

// layout names every file of a cluster. All lie under one directory, which is
// what makes a cluster easy to remove.
type layout struct {
	root string
}

// newLayout returns the layout under KOHORT_CLUSTER_DIR.
func newLayout() (layout, error) {
	root := os.Getenv("KOHORT_CLUSTER_DIR")
	if root == "" {
		root = defaultState
	}
	if !filepath.IsAbs(root) || filepath.Clean(root) == "/" {
		return layout{}, fmt.Errorf("KOHORT_CLUSTER_DIR is %q: give an absolute path of a directory of its own", root)
	}
	return layout{root: filepath.Clean(root)}, nil
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.root}, parts...)...)
}

func (l layout) kubeconfig() string           { return l.path("kubeconfig") }
func (l layout) kubeconfigOf(u string) string { return l.path("config", u+".kubeconfig") }
func (l layout) config(name string) string    { return l.path("config", name) }
func (l layout) certificate(n string) string  { return l.path("pki", n+".crt") }
func (l layout) key(name string) string       { return l.path("pki", name+".key") }
func (l layout) log(name string) string       { return l.path("logs", name+".log") }
func (l layout) record(name string) string    { return l.path("processes", name+".json") }
func (l layout) socket() string               { return l.path("containerd.sock") }
func (l layout) containerdState() string      { return l.path("containerd", "state") }
func (l layout) volumes() string              { return l.path("volumes") }

// make creates the directories that must exist before any process starts.
func (l layout) make() error {
	for _, dir := range []string{"config", "pki", "logs", "processes", "etcd", "containerd", "cni/conf", "cni/addresses", "kubelet", "pod-logs", "volumes"} {
		if err := os.MkdirAll(l.path(dir), 0o700); err != nil {
			return fmt.Errorf("making the state directory: %w", err)
		}
	}
	return nil
}

// cacheDir returns the directory for built programs, which outlives clusters.
func cacheDir() (string, error) {
	if dir := os.Getenv("KOHORT_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache directory: %w (set KOHORT_CACHE)", err)
	}
	return filepath.Join(dir, "kohort"), nil
}
