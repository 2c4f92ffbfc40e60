package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelSettings are what the cluster needs of the kernel, and further ones
// that kubelet and kube-proxy change by themselves ("" here): all are put back
// when the cluster is removed.
func kernelSettings() map[string]string {
	return map[string]string{
		"net/ipv4/ip_forward": "1",
		// Traffic between pods on the bridge must pass iptables too, or the
		// answer of a Service's pod comes from an address that nobody asked.
		"net/bridge/bridge-nf-call-iptables": "1",
		"net/ipv4/conf/all/route_localnet":   "",
		"vm/overcommit_memory":               "",
		"vm/panic_on_oom":                    "",
		"kernel/panic":                       "",
		"kernel/panic_on_oops":               "",
		"kernel/keys/root_maxkeys":           "",
		"kernel/keys/root_maxbytes":          "",
	}
}

// setKernel changes the kernel's settings and records what they were before.
func (l layout) setKernel(ctx context.Context) error {
	settings := kernelSettings()
	for name := range settings {
		if _, err := os.Stat(filepath.Join("/proc/sys", name)); err != nil && strings.HasPrefix(name, "net/bridge/") {
			if _, err := run(ctx, "modprobe", "br_netfilter"); err != nil {
				return fmt.Errorf("loading the kernel's bridge filter: %w", err)
			}
		}
	}
	if _, err := os.Stat(l.config("kernel.json")); errors.Is(err, os.ErrNotExist) {
		before := make(map[string]string, len(settings))
		for name := range settings {
			value, err := os.ReadFile(filepath.Join("/proc/sys", name))
			if err != nil {
				continue // a kernel without it: there is nothing to put back
			}
			before[name] = strings.TrimSpace(string(value))
		}
		data, err := json.Marshal(before)
		if err != nil {
			return fmt.Errorf("recording the kernel's settings: %w", err)
		}
		if err := writeFile(l.config("kernel.json"), data); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("looking for the kernel's earlier settings: %w", err)
	}
	for name, want := range settings {
		if want == "" {
			continue
		}
		if err := writeSetting(name, want); err != nil {
			return err
		}
	}
	return nil
}

// restoreKernel puts back what setKernel recorded.
func (l layout) restoreKernel() error {
	data, err := os.ReadFile(l.config("kernel.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the kernel's earlier settings: %w", err)
	}
	var before map[string]string
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("reading the kernel's earlier settings: %w", err)
	}
	var failed []error
	for name, value := range before {
		failed = append(failed, writeSetting(name, value))
	}
	return errors.Join(failed...)
}

func writeSetting(name, value string) error {
	file := filepath.Join("/proc/sys", name)
	// Some kernels refuse every write, also of the value that is set.
	if now, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting the kernel's %s: %w", name, err)
	}
	return nil
}

// makeBridge makes the network device that pods are plugged into. It carries
// the node's address, so that the cluster does not depend on the machine's
// other networks, which come and go.
func makeBridge(ctx context.Context) error {
	if _, err := os.Stat("/sys/class/net/" + bridgeName); errors.Is(err, os.ErrNotExist) {
		// A fixed hardware address: a bridge otherwise takes on the lowest of
		// its ports, and changes whenever a pod comes or goes.
		if _, err := run(ctx, "ip", "link", "add", bridgeName, "address", "0a:58:0a:f4:00:01", "type", "bridge"); err != nil {
			return fmt.Errorf("making the pods' bridge: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("looking for the pods' bridge: %w", err)
	}
	_, prefix, _ := strings.Cut(podRange, "/")
	for _, args := range [][]string{
		{"address", "replace", nodeAddress + "/" + prefix, "dev", bridgeName},
		{"link", "set", bridgeName, "up"},
		// Services are reached from the machine itself also where it has no
		// default route.
		{"route", "replace", serviceRange, "dev", bridgeName, "src", nodeAddress},
	} {
		if _, err := run(ctx, "ip", args...); err != nil {
			return fmt.Errorf("setting up the pods' bridge: %w", err)
		}
	}
	// Another program of the machine (Docker does) may drop what is forwarded.
	for _, direction := range []string{"-i", "-o"} {
		rule := []string{"FORWARD", direction, bridgeName, "-m", "comment", "--comment", networkName, "-j", "ACCEPT"}
		if _, err := run(ctx, "iptables", append([]string{"-w", "-C"}, rule...)...); err == nil {
			continue
		}
		if _, err := run(ctx, "iptables", append([]string{"-w", "-I"}, rule...)...); err != nil {
			return fmt.Errorf("letting pods' traffic through: %w", err)
		}
	}
	return nil
}

// removeBridge removes the bridge, and with it its routes, and the devices
// that pods were plugged into it with. Those would go with the pods' network
// namespaces, but the kernel keeps such a namespace for minutes when a
// connection in it was not closed to the end.
func removeBridge(ctx context.Context) error {
	ports, err := filepath.Glob("/sys/class/net/" + bridgeName + "/brif/*")
	if err != nil {
		return fmt.Errorf("listing the pods' network devices: %w", err)
	}
	var failed []error
	for _, device := range append(ports, bridgeName) {
		failed = append(failed, removeDevice(ctx, filepath.Base(device)))
	}
	return errors.Join(failed...)
}

func removeDevice(ctx context.Context, name string) error {
	if _, err := run(ctx, "ip", "link", "delete", name); err != nil {
		if _, gone := os.Stat("/sys/class/net/" + name); errors.Is(gone, os.ErrNotExist) {
			return nil // it went with a pod meanwhile, or was never there
		}
		return fmt.Errorf("removing network device %s: %w", name, err)
	}
	return nil
}

// otherCluster tells whether rules of another Kubernetes node are in force.
func otherCluster(ctx context.Context) (bool, error) {
	rules, err := run(ctx, "iptables-save")
	if err != nil {
		return false, fmt.Errorf("reading the machine's packet filter: %w", err)
	}
	return strings.Contains(rules, ":KUBE-SERVICES "), nil
}

// removeRules removes the packet filter rules of this cluster's kubelet,
// kube-proxy, network plugin and bridge.
func removeRules(ctx context.Context) error {
	var failed []error
	for _, family := range []string{"iptables", "ip6tables"} {
		if _, err := exec.LookPath(family + "-save"); err != nil {
			continue // without it there are no rules of ours
		}
		rules, err := run(ctx, family+"-save")
		if err != nil {
			failed = append(failed, fmt.Errorf("reading the machine's packet filter: %w", err))
			continue
		}
		script := removalScript(rules)
		if script == "" {
			continue
		}
		if _, err := run(ctx, "sh", "-c", `printf %s "$1" | "$0" -w --noflush`, family+"-restore", script); err != nil {
			failed = append(failed, fmt.Errorf("removing the cluster's packet filter rules: %w", err))
		}
	}
	return errors.Join(failed...)
}

// removalScript turns the output of iptables-save into the input of
// iptables-restore that removes this cluster's rules and chains, and nothing
// else. It is empty when there are none.
func removalScript(saved string) string {
	type table struct {
		name           string
		rules, flushed []string
	}
	var tables []*table
	var current *table
	ours := map[string]bool{} // chains, of the current table
	scanner := bufio.NewScanner(strings.NewReader(saved))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			current = &table{name: line}
			tables = append(tables, current)
			clear(ours)
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			if strings.HasPrefix(chain, "KUBE-") || strings.HasPrefix(chain, "CNI-") && cniChainIsOurs(saved, chain) {
				ours[chain] = true
				current.flushed = append(current.flushed, chain)
			}
		case strings.HasPrefix(line, "-A "):
			fields := strings.Fields(line)
			if ours[fields[1]] {
				continue // goes when its chain is flushed
			}
			if jumpsTo(fields, ours) || strings.Contains(line, "--comment "+networkName+" ") {
				current.rules = append(current.rules, "-D "+strings.TrimPrefix(line, "-A "))
			}
		}
	}
	var script strings.Builder
	for _, t := range tables {
		if len(t.rules)+len(t.flushed) == 0 {
			continue
		}
		fmt.Fprintln(&script, t.name)
		for _, rule := range t.rules {
			fmt.Fprintln(&script, rule)
		}
		for _, chain := range t.flushed {
			fmt.Fprintln(&script, "-F", chain)
		}
		for _, chain := range t.flushed {
			fmt.Fprintln(&script, "-X", chain)
		}
		fmt.Fprintln(&script, "COMMIT")
	}
	return script.String()
}

// cniChainIsOurs tells whether a network plugin made the chain for a pod of
// this cluster: the plugin names the network in the comment of every rule.
func cniChainIsOurs(saved, chain string) bool {
	for line := range strings.Lines(saved) {
		if strings.Contains(line, " "+chain+" ") || strings.HasSuffix(strings.TrimSpace(line), " "+chain) {
			if strings.Contains(line, `name: \"`+networkName+`\"`) {
				return true
			}
		}
	}
	return false
}

func jumpsTo(fields []string, chains map[string]bool) bool {
	for i, field := range fields[:len(fields)-1] {
		if (field == "-j" || field == "-g") && chains[fields[i+1]] {
			return true
		}
	}
	return false
}
