//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kohort.dev/kohort/test/demo/world"
)

// victim is a container to kill.
type victim struct {
	name      string
	selector  string // of its pods
	container string
}

// kill is what became of one.
type kill struct {
	victim
	ids []string // of the containers that were killed
}

// strike ends a victim as a crash would. One that is just coming back from the last kill is waited for.
func strike(t *testing.T, w world.World, v victim) kill {
	t.Helper()
	k := kill{victim: v}
	if err := world.Until(t.Context(), 90*time.Second, func(ctx context.Context) (string, error) {
		var err error
		if k.ids, err = v.strike(ctx, w); err == nil && len(k.ids) == 0 {
			return "no container " + v.container + " runs", nil
		}
		return "", err
	}); err != nil {
		t.Fatalf("killing the %s: %v", v.name, err)
	}
	return k
}

// awaitReturn waits until all victims are ready again. A container that crashed before is not restarted at once
// (CrashLoopBackOff); its pod is then replaced, for the test is about the kill and not about the wait.
func awaitReturn(t *testing.T, w world.World, fallen []kill) {
	t.Helper()
	await(t, 3*time.Minute, func(ctx context.Context) (string, error) {
		var missing []string
		for _, k := range fallen { // each of them: one may need its pod replaced before another can be ready
			state, err := k.recover(ctx, w, k.ids)
			if err != nil {
				return "", err
			}
			if state != "" {
				missing = append(missing, k.name+": "+state)
			}
		}
		return strings.Join(missing, "; "), nil
	})
}

// strike kills the victim's processes and returns the ids of their containers. On the machine that the containers run on
// it is kill -9 of the processes themselves; elsewhere the pod is deleted without grace.
func (v victim) strike(ctx context.Context, w world.World) (ids []string, err error) {
	pods, err := v.pods(ctx, w)
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			if status.Name != v.container || status.State.Running == nil {
				continue
			}
			killed, err := killContainer(status.ContainerID)
			if err != nil {
				return ids, err
			}
			if !killed {
				if err := deletePod(ctx, w, pod.Name); err != nil {
					return ids, err
				}
			}
			ids = append(ids, status.ContainerID)
		}
	}
	return ids, nil
}

// recover says what is missing until the victim is ready again, and helps where the kubelet would wait.
func (v victim) recover(ctx context.Context, w world.World, killed []string) (string, error) {
	pods, err := v.pods(ctx, w)
	if err != nil {
		return "", err
	}
	if len(pods) == 0 {
		return "there is no pod", nil
	}
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			if slices.Contains(killed, status.ContainerID) && status.State.Running != nil {
				return "the kubelet has not noticed the kill", nil
			}
			if waiting := status.State.Waiting; waiting != nil && waiting.Reason == "CrashLoopBackOff" {
				return "its pod is replaced", deletePod(ctx, w, pod.Name)
			}
			if !status.Ready {
				return "container " + status.Name + " is not ready", nil
			}
		}
		if pod.Status.Phase != corev1.PodRunning {
			return "pod " + pod.Name + " is " + string(pod.Status.Phase), nil
		}
	}
	return "", nil
}

// pods lists the victim's pods that are not on their way out.
func (v victim) pods(ctx context.Context, w world.World) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.Kubectl.List(ctx, "pods", v.selector, &list); err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

func deletePod(ctx context.Context, w world.World, name string) error {
	_, err := w.Kubectl.Run(ctx, "delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found", "--wait=false")
	return err
}

// killContainer sends SIGKILL to every process of a container on this machine, known by the container's id in its control
// group, and says whether there was one.
func killContainer(id string) (bool, error) {
	_, id, found := strings.Cut(id, "://")
	if !found || id == "" {
		return false, nil
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return false, err
	}
	killed := false
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended meanwhile
		}
		if err != nil {
			return killed, err
		}
		if !strings.Contains(string(group), id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return killed, err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed = true
		} else if !errors.Is(err, syscall.ESRCH) {
			return killed, fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return killed, nil
}
