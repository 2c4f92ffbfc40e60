package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// pauseImage is what holds a pod's network open.
const pauseImage = "kohort.dev/pause:1"

// writeContainerdConfig writes containerd's configuration and that of the
// pods' network. It keeps containerd away from the machine's own one.
func (l layout) writeContainerdConfig() error {
	config := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = %[3]q

[plugins."io.containerd.internal.v1.opt"]
  path = %[4]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[5]q
  # Pods' network namespaces lie in the state directory, not in /run/netns.
  netns_mounts_under_state_dir = true
  # A machine without CAP_SYS_RESOURCE (a container, some virtual machines)
  # refuses scores lower than its own, and then no container starts.
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[6]q
    conf_dir = %[7]q

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = %[8]q
`, l.path("containerd", "root"), l.containerdState(), l.socket(), l.path("containerd", "opt"), pauseImage,
		cniPluginsDir, l.path("cni", "conf"), l.path("containerd", "runc"))
	if err := writeFile(l.config("containerd.toml"), []byte(config)); err != nil {
		return err
	}

	network, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       networkName,
		"plugins": []any{map[string]any{
			"type":        "bridge",
			"bridge":      bridgeName,
			"isGateway":   true,
			"ipMasq":      true,
			"hairpinMode": true,
			"ipam": map[string]any{
				"type":    "host-local",
				"dataDir": l.path("cni", "addresses"),
				"ranges":  []any{[]any{map[string]any{"subnet": podRange, "gateway": nodeAddress}}},
				"routes":  []any{map[string]any{"dst": "0.0.0.0/0"}},
			},
		}},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the pods' network configuration: %w", err)
	}
	return writeFile(l.path("cni", "conf", "10-"+networkName+".conflist"), network)
}

// ctr runs containerd's own client on the cluster's containers.
func (l layout) ctr(ctx context.Context, args ...string) (string, error) {
	// A look first: ctr waits ten seconds for a containerd that is not there.
	connection, err := new(net.Dialer).DialContext(ctx, "unix", l.socket())
	if err != nil {
		return "", fmt.Errorf("connecting to the cluster's containerd: %w", err)
	}
	if err := connection.Close(); err != nil {
		return "", fmt.Errorf("connecting to the cluster's containerd: %w", err)
	}
	return run(ctx, "ctr", l.ctrArguments(args...)...)
}

func (l layout) ctrArguments(args ...string) []string {
	return append([]string{"--address", l.socket(), "--namespace", namespace}, args...)
}

// containerdAnswers is nil when containerd serves.
func (l layout) containerdAnswers(ctx context.Context) error {
	plugins, err := l.ctr(ctx, "plugins", "ls")
	if err != nil {
		return err
	}
	for line := range strings.Lines(plugins) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == "io.containerd.grpc.v1" && fields[1] == "cri" {
			if fields[len(fields)-1] == "ok" {
				return nil
			}
			return fmt.Errorf("containerd's part for kubelet does not work: %s", strings.TrimSpace(line))
		}
	}
	return errors.New("containerd has no part for kubelet: its plugin cri is missing")
}
