package main

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// A program may name itself anything, also like the fields that follow.
	line := "4711 (a) S 9 (b)) Z 42 4711 4711 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 1 2 3"
	got, err := parseStat(line)
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{state: 'Z', parent: 42, startTicks: 987654}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "4711 (sh) S 1", "no parenthesis"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken for a process's state", bad)
		}
	}
}

func TestRecordKnowsItsProcess(t *testing.T) {
	l := layout{root: t.TempDir()}
	if err := l.make(); err != nil {
		t.Fatal(err)
	}
	sleeper := component{name: "sleeper", command: []string{"sleep", "60"}}
	if err := l.startProcess(sleeper); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.stopProcess("sleeper", 0); err != nil {
			t.Error(err)
		}
	})
	r, ok, err := l.readRecord("sleeper")
	if err != nil || !ok {
		t.Fatalf("record: %t, %v", ok, err)
	}
	if !r.isAlive() {
		t.Error("a process that runs counts as dead")
	}

	recycled := r
	recycled.StartTicks++
	if recycled.isAlive() {
		t.Error("another process under the same id counts as the one that was recorded")
	}
	rebooted := r
	rebooted.Boot = "another"
	if rebooted.isAlive() {
		t.Error("a process of the machine's earlier run counts as alive")
	}

	if running, err := l.isRunning(sleeper); err != nil || !running {
		t.Errorf("the component: running is %t, %v", running, err)
	}
	changed := sleeper
	changed.command = []string{"sleep", "61"}
	if running, err := l.isRunning(changed); err != nil || running {
		t.Errorf("a component whose command has changed: running is %t, %v", running, err)
	}

	if err := l.stopProcess("sleeper", time.Second); err != nil {
		t.Fatal(err)
	}
	if r.isAlive() {
		t.Error("the process runs after it was stopped")
	}
	if _, ok, err := l.readRecord("sleeper"); ok || err != nil {
		t.Errorf("a stopped process is still recorded: %v", err)
	}
}

func TestStopLeavesARecycledIDAlone(t *testing.T) {
	bystander := exec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	s, err := readStat(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	earlier := record{PID: bystander.Process.Pid, StartTicks: s.startTicks - 1, Boot: boot}
	if err := stop(earlier, time.Second); err != nil {
		t.Fatal(err)
	}
	if s, err := readStat(bystander.Process.Pid); err != nil || s.state == 'Z' {
		t.Errorf("a process that was never started here was killed: %+v, %v", s, err)
	}
}

func TestWaitForGivesUpAtOnceOnAFinalError(t *testing.T) {
	ended := errors.New("it ended")
	calls := 0
	err := waitFor(t.Context(), "a component", time.Minute, func(context.Context) error {
		if calls++; calls < 2 {
			return errors.New("not yet")
		}
		return final{ended}
	})
	if !errors.Is(err, ended) || calls != 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}
