package zktest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"barnabas/internal/testaddr"
)

// Own is a real ZooKeeper that one test has for itself, to be stopped, killed
// and started again with the same address and data.
type Own struct {
	t    testing.TB
	java string
	r    *realServer
}

// NewOwn starts one; it ends with the test.
func NewOwn(t testing.TB) *Own {
	t.Helper()
	return NewOwnAt(t, testaddr.Reserve(t))
}

// NewOwnAt is NewOwn on an address that the caller has made, by the command
// under, such as one that enters a network namespace.
func NewOwnAt(t testing.TB, addr string, under ...string) *Own {
	t.Helper()
	java, err := findJava()
	if err != nil {
		t.Fatal(err)
	}
	r, err := launch(java, t.TempDir(), addr, under...)
	if err != nil {
		t.Fatal(err)
	}
	o := &Own{t: t, java: java, r: r}
	t.Cleanup(func() { o.r.proc.Kill() })
	return o
}

// Addr is its address, without chroot.
func (o *Own) Addr() string { return o.r.addr }

// PID is the id of its process.
func (o *Own) PID() int { return o.r.proc.PID() }

// Kill ends it by SIGKILL.
func (o *Own) Kill() { o.r.proc.Kill() }

// Wipe deletes all data of the killed process.
func (o *Own) Wipe() {
	o.t.Helper()
	if err := os.RemoveAll(filepath.Join(o.r.dir, "data")); err != nil {
		o.t.Fatal(err)
	}
}

// Restart starts it again after Kill, and returns when it serves.
func (o *Own) Restart() {
	o.t.Helper()
	if err := o.r.run(o.java); err != nil {
		o.t.Fatal(err)
	}
}

// Pause stops its process as a long garbage collection would (SIGSTOP); Resume
// lets it go on.
func (o *Own) Pause()  { syscall.Kill(o.r.proc.PID(), syscall.SIGSTOP) }
func (o *Own) Resume() { syscall.Kill(o.r.proc.PID(), syscall.SIGCONT) }
