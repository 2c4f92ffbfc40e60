package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// record is what is kept of a process that was started, to know it again. A
// process id alone would not do: the kernel gives it to another process later.
type record struct {
	PID int `json:"pid"`
	// StartTicks is when it started, in clock ticks since the machine did.
	StartTicks uint64 `json:"startTicks"`
	// Boot tells apart the runs of the machine, for ticks begin anew.
	Boot string `json:"boot"`
	// Command is what was started.
	Command []string `json:"command"`
	// Config is the digest of the configuration that it was started with.
	Config string `json:"config,omitempty"`
}

// startProcess starts a component as a process that outlives this one, with
// its output appended to its log, and records it.
func (l layout) startProcess(c component) error {
	digest, err := c.configDigest()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(l.log(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer log.Close()
	process := exec.Command(c.command[0], c.command[1:]...)
	process.Dir = l.root
	process.Stdout, process.Stderr = log, log
	// A session of its own keeps it from the terminal's signals.
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", c.name, err)
	}
	started := record{PID: process.Process.Pid, Command: c.command, Config: digest}
	if err := l.writeRecord(c.name, started); err != nil {
		// Without a record nothing would ever end it.
		return errors.Join(err, process.Process.Kill())
	}
	return process.Process.Release()
}

// configDigest returns the digest of a component's configuration, "" when it
// has none.
func (c component) configDigest() (string, error) {
	if c.config == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.config)
	if err != nil {
		return "", fmt.Errorf("reading the configuration of %s: %w", c.name, err)
	}
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:]), nil
}

// writeRecord completes and keeps the record of a process that was just started.
func (l layout) writeRecord(name string, r record) error {
	stat, err := readStat(r.PID)
	if err != nil {
		return fmt.Errorf("recording %s: %w", name, err)
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	r.StartTicks, r.Boot = stat.startTicks, boot
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("recording %s: %w", name, err)
	}
	if err := os.WriteFile(l.record(name), data, 0o600); err != nil {
		return fmt.Errorf("recording %s: %w", name, err)
	}
	return nil
}

// readRecord returns what was recorded of a process; ok is false when nothing was.
func (l layout) readRecord(name string) (r record, ok bool, err error) {
	data, err := os.ReadFile(l.record(name))
	if errors.Is(err, os.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("reading the record of %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, false, fmt.Errorf("reading the record of %s: %w", name, err)
	}
	return r, true, nil
}

// recorded returns the names of all processes that were recorded.
func (l layout) recorded() ([]string, error) {
	files, err := filepath.Glob(l.record("*"))
	if err != nil {
		return nil, fmt.Errorf("listing recorded processes: %w", err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	return names, nil
}

// isAlive tells whether the process that was recorded still runs. Another
// process under its id does not count, nor does one that ended and that nobody
// has waited for.
func (r record) isAlive() bool {
	boot, err := bootID()
	if err != nil || boot != r.Boot {
		return false
	}
	stat, err := readStat(r.PID)
	return err == nil && stat.startTicks == r.StartTicks && stat.state != 'Z' && stat.state != 'X'
}

// isRunning tells whether a component runs as it should: with this command
// and this configuration.
func (l layout) isRunning(c component) (bool, error) {
	r, ok, err := l.readRecord(c.name)
	if err != nil || !ok {
		return false, err
	}
	digest, err := c.configDigest()
	if err != nil {
		return false, err
	}
	return r.isAlive() && slices.Equal(r.Command, c.command) && r.Config == digest, nil
}

// How long a process may take to end: by itself, and after it was killed, when
// the kernel may still have its memory to clear.
const (
	patience     = 5 * time.Second
	killPatience = 10 * time.Second
)

// stopProcess ends the named process, if the recorded one still runs, and
// forgets it. With no patience it is killed at once.
func (l layout) stopProcess(name string, patience time.Duration) error {
	r, ok, err := l.readRecord(name)
	if err != nil || !ok {
		return err
	}
	if err := stop(r, patience); err != nil {
		return fmt.Errorf("ending %s: %w", name, err)
	}
	return removeIfThere(l.record(name))
}

// stop asks a process to end and kills it when its patience is over.
func stop(r record, patience time.Duration) error {
	if patience > 0 {
		if ended, err := signalAndWait(r, syscall.SIGTERM, patience); ended || err != nil {
			return err
		}
	}
	ended, err := signalAndWait(r, syscall.SIGKILL, killPatience)
	if err == nil && !ended {
		err = fmt.Errorf("process %d does not end", r.PID)
	}
	return err
}

// signalAndWait sends a signal and tells whether the process ended in time.
func signalAndWait(r record, signal syscall.Signal, limit time.Duration) (ended bool, err error) {
	if !r.isAlive() {
		return true, nil
	}
	if err := syscall.Kill(r.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("sending %s to process %d: %w", signal, r.PID, err)
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !r.isAlive() {
			return true, nil
		}
	}
	return false, nil
}

// stat is the part of /proc/PID/stat that is of use here.
type stat struct {
	state      byte
	parent     int
	startTicks uint64
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("reading the state of process %d: %w", pid, err)
	}
	return parseStat(string(data))
}

// parseStat reads a line of proc_pid_stat(5). The second field is the
// program's name in parentheses, in which anything may stand, so the fields
// are counted from the last parenthesis on.
func parseStat(line string) (stat, error) {
	_, rest, found := cutLast(line, ")")
	fields := strings.Fields(rest)
	// The fields here begin with the third: state is 3, ppid 4, starttime 22.
	if !found || len(fields) < 20 {
		return stat{}, fmt.Errorf("process state %q is not as proc_pid_stat(5) says", line)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return stat{}, fmt.Errorf("process state %q: parent: %w", line, err)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("process state %q: start time: %w", line, err)
	}
	return stat{state: fields[0][0], parent: parent, startTicks: ticks}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the machine's boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
