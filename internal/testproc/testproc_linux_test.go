package testproc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain: started again with this variable, the test binary is a parent that
// starts a program and waits to be killed.
func TestMain(m *testing.M) {
	if log := os.Getenv("TESTPROC_PARENT"); log != "" {
		p, err := Start(exec.Command("sleep", "600"), log)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		<-p.Done()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestOutputAndStop(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo out; echo err >&2; exec sleep 600")
	p, err := Start(cmd, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(time.Minute, func() error {
		if !strings.Contains(p.Output(), "out\nerr\n") {
			return errors.New("nothing printed")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, time.Minute); err == nil || err.Error() != "signal: terminated" {
		t.Fatalf("ended with %v", err)
	}
	if err := p.Await(time.Minute, func() error { return errors.New("not ready") }); err == nil || !strings.Contains(err.Error(), "sh ended") {
		t.Fatalf("waiting for an ended program: %v", err)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	p, err := Start(cmd, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(time.Minute, func() error {
		if p.Output() != "ready\n" {
			return errors.New("not ready")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end in time") {
		t.Fatalf("ended with %v", err)
	}
}

func TestProgramsDieWithAKilledParent(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), "TESTPROC_PARENT="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(line, &child); err != nil {
		t.Fatalf("the parent said %q", line)
	}
	parent.Process.Kill()
	parent.Wait() // it was killed
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for alive(child) {
		select {
		case <-tick.C:
		case <-deadline:
			syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the program outlived the process that started it")
		}
	}
}

// alive: a zombie that nobody has waited for is dead, too.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestSharedDirRemovesWhatTheDeadLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(os.TempDir(), fmt.Sprintf("pre-%d-77", dead.Process.Pid))
	if err := os.MkdirAll(filepath.Join(stale, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	mine, err := SharedDir("pre")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SharedDir("pre"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the stale one is there: %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("the live one is gone: %v", err)
	}
}
