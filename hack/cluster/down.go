package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// down ends the cluster and removes all that it made on the machine. It goes
// on where it fails, so that as little as possible stays behind, and a second
// call does the rest.
func (l layout) down(ctx context.Context, say func(string, ...any)) error {
	var failed []error
	note := func(err error) { failed = append(failed, err) }

	// What starts other things ends first. Nothing gets time to finish its
	// work: all of it is removed anyway.
	order := []string{"kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler", "local-volumes", "containerd", "kube-apiserver", "etcd"}
	names, err := l.recorded()
	note(err)
	for _, name := range order {
		if slices.Contains(names, name) {
			note(l.stopProcess(name, 0))
		}
	}
	for _, name := range names {
		if !slices.Contains(order, name) {
			note(l.stopProcess(name, 0))
		}
	}
	say("ended the cluster's processes")

	note(l.killContainers())
	say("ended its containers")

	note(l.unmountAll())
	note(removeBridge(ctx))
	note(removeRules(ctx))
	note(removeCgroups())
	note(l.restoreKernel())
	note(l.removeOutside())
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := os.RemoveAll(l.root); err != nil {
		return fmt.Errorf("removing the state directory: %w", err)
	}
	say("removed its mounts, network and files")
	return nil
}

// killContainers kills every container and the shim that holds it. Those are
// found by the shim's own arguments, which name this cluster's containerd.
func (l layout) killContainers() error {
	sockets, err := l.shimSockets()
	if err != nil {
		return err
	}
	processes, err := listProcesses()
	if err != nil {
		return err
	}
	var doomed []int
	for pid := range processes {
		if l.isShim(pid) {
			doomed = append(doomed, pid)
		}
	}
	// A container's processes are descendants of its shim.
	for i := 0; i < len(doomed); i++ {
		for pid, s := range processes {
			if s.parent == doomed[i] {
				doomed = append(doomed, pid)
			}
		}
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	var failed []error
	for _, pid := range doomed {
		if err := stop(record{PID: pid, StartTicks: processes[pid].startTicks, Boot: boot}, 0); err != nil {
			failed = append(failed, fmt.Errorf("killing a container: %w", err))
		}
	}
	for _, socket := range sockets {
		failed = append(failed, removeIfThere(socket))
	}
	return errors.Join(failed...)
}

// isShim tells whether a process holds a container of this cluster.
func (l layout) isShim(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false // it has ended
	}
	args := strings.Split(string(data), "\x00")
	at := slices.Index(args, "-address")
	return strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && at >= 0 && at+1 < len(args) && args[at+1] == l.socket()
}

// shimSockets returns the sockets of this cluster's shims. They lie outside
// the state directory, and a shim that is killed leaves its own behind.
func (l layout) shimSockets() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(l.containerdState(), "io.containerd.runtime.v2.task", "*", "*", "address"))
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var sockets []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a container's socket: %w", err)
		}
		sockets = append(sockets, strings.TrimPrefix(strings.TrimSpace(string(data)), "unix://"))
	}
	return sockets, nil
}

// listProcesses returns the state of every process of the machine.
func listProcesses() (map[int]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	processes := map[int]stat{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		if s, err := readStat(pid); err == nil { // else it has just ended
			processes[pid] = s
		}
	}
	return processes, nil
}

// unmountAll unmounts everything below the state directory: containers' root
// file systems, volumes, network namespaces.
func (l layout) unmountAll() error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	defer file.Close()
	var points []string
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		// The fifth field is the mount point, with spaces and the like in octal.
		fields := strings.Fields(scanner.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescapeMount(fields[4]); strings.HasPrefix(point, l.root+"/") {
			points = append(points, point)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	// What was mounted last may lie on what was mounted before.
	slices.Reverse(points)
	var failed []error
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			failed = append(failed, fmt.Errorf("unmounting %s: %w", point, err))
		}
	}
	return errors.Join(failed...)
}

// unescapeMount undoes the escapes of proc_pid_mountinfo(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeCgroups removes the control groups that kubelet made for pods. They
// are empty once the containers have ended.
func removeCgroups() error {
	var roots []string
	for _, pattern := range []string{"/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/*/kubepods"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("listing control groups: %w", err)
		}
		roots = append(roots, found...)
	}
	var failed []error
	for _, root := range roots {
		groups, err := directoriesOf(root)
		failed = append(failed, err)
		for _, group := range groups {
			if err := syscall.Rmdir(group); err != nil && !errors.Is(err, syscall.ENOENT) {
				failed = append(failed, fmt.Errorf("removing control group %s: %w", group, err))
			}
		}
	}
	return errors.Join(failed...)
}

// outside returns the directories that components use although the state
// directory is not above them: their paths are fixed in kubelet, in the network
// plugins' library and in containerd.
func outside() []string {
	return []string{"/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}
}

// recordOutside keeps which of those directories are the cluster's own doing,
// before anything makes them.
func (l layout) recordOutside() error {
	if _, err := os.Stat(l.config("outside.json")); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking for the record of directories: %w", err)
	}
	missing := []string{}
	for _, dir := range outside() {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, dir)
		}
	}
	data, err := json.Marshal(missing)
	if err != nil {
		return fmt.Errorf("recording directories: %w", err)
	}
	return writeFile(l.config("outside.json"), data)
}

// removeOutside removes this cluster's files in those directories, and the
// directories that it made where nothing else is in them.
func (l layout) removeOutside() error {
	var failed []error
	links, err := filepath.Glob("/var/log/containers/*.log")
	failed = append(failed, err)
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, l.root+"/") {
			failed = append(failed, os.Remove(link))
		}
	}
	results, err := filepath.Glob("/var/lib/cni/results/*")
	failed = append(failed, err)
	for _, result := range results {
		// A result names the network namespace, which is in the state directory.
		if data, err := os.ReadFile(result); err == nil && bytes.Contains(data, []byte(l.root+"/")) {
			failed = append(failed, removeIfThere(result))
		}
	}

	data, err := os.ReadFile(l.config("outside.json"))
	if errors.Is(err, os.ErrNotExist) {
		return errors.Join(failed...)
	}
	failed = append(failed, err)
	var made []string
	failed = append(failed, json.Unmarshal(data, &made))
	for _, dir := range made {
		failed = append(failed, removeIfThere(filepath.Join(dir, "device-plugins", "kubelet.sock")), removeEmpty(dir))
	}
	return errors.Join(failed...)
}

// removeEmpty removes a directory and those below it, as far as they are empty.
func removeEmpty(root string) error {
	directories, err := directoriesOf(root)
	if err != nil {
		return fmt.Errorf("removing empty directories: %w", err)
	}
	var failed []error
	for _, dir := range directories {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOTEMPTY) {
			failed = append(failed, fmt.Errorf("removing directory %s: %w", dir, err))
		}
	}
	return errors.Join(failed...)
}

// directoriesOf returns root and the directories below it, the deepest first.
func directoriesOf(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // gone meanwhile, or never there
		}
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	slices.Reverse(found)
	return found, err
}
