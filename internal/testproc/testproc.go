package testproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running program.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // after done
}

// Start runs cmd with its output appended to the file log. The caller has not
// set Stdout and Stderr.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread ends that started the program,
		// so this one is kept for as long.
		runtime.LockOSThread()
		dieWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
		runtime.UnlockOSThread()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("testproc: %w", err)
	}
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended; call it after Done.
func (p *Process) Err() error { return p.err }

// Kill ends the program at once (SIGKILL) and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // that it has ended already is fine
	<-p.done
}

// Stop asks the program to end by a signal, waits up to limit, then kills it. It
// returns how the program ended.
func (p *Process) Stop(sig syscall.Signal, limit time.Duration) error {
	p.cmd.Process.Signal(sig) // that it has ended already is fine
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.Kill()
		return errors.New("testproc: killed: did not end in time")
	}
}

// Output is what the program has printed, the last 64 KiB of it.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if cut := len(b) - 64<<10; cut > 0 {
		b = b[cut:]
	}
	return string(b)
}

// Await asks ready every 20 ms until it gives no error. It gives up at the limit
// or when the program has ended.
func (p *Process) Await(limit time.Duration, ready func() error) error {
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("testproc: %s ended: %v", filepath.Base(p.cmd.Path), p.err)
		case <-deadline:
			return fmt.Errorf("testproc: %s is not ready after %v: %w", filepath.Base(p.cmd.Path), limit, err)
		case <-tick.C:
		}
	}
}

// SharedDir makes a directory for what outlives single tests of a binary:
// temporary, named by prefix and the process id. What earlier processes, now
// dead, left under the same prefix is removed.
func SharedDir(prefix string) (string, error) {
	stale, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range stale {
		pid, err := strconv.Atoi(strings.Split(strings.TrimPrefix(filepath.Base(dir), prefix+"-"), "-")[0])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir) // another test binary may be doing the same
		}
	}
	return os.MkdirTemp("", fmt.Sprintf("%s-%d-", prefix, os.Getpid()))
}
