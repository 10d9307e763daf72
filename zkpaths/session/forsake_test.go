package session_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// startOn starts a server on files, at an address if one is given.
func startOn(t *testing.T, fs vfs.FS, addr string) *devzk.Server {
	t.Helper()
	s, err := devzk.Start(devzk.Options{Addr: addr, Dir: "/zk", FS: fs, Tick: 50 * time.Millisecond, MinSessionTimeout: 100 * time.Millisecond, MaxSessionTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestRestoredFromABackup: the servers come back with data that are older than
// what the session has seen. It is given up, and the client goes on with a new
// one, which sees what is there.
func TestRestoredFromABackup(t *testing.T) {
	mem := vfs.NewMem()
	addr := testaddr.Reserve(t)
	s := startOn(t, mem, addr)
	states := make(chan session.State, 100)
	c, err := session.Open(t.Context(), session.Options{Connect: addr, Timeout: 3 * time.Second, OnState: func(s session.State) { states <- s }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	create := func(path string) {
		t.Helper()
		for {
			_, err := c.Create(t.Context(), path, []byte("x"), session.Persistent)
			if err == nil || errors.Is(err, session.ErrNodeExists) {
				return
			}
			if !errors.Is(err, session.ErrConnectionLost) {
				t.Fatal(err)
			}
		}
	}
	await := func(kind session.StateKind) session.State {
		t.Helper()
		late := time.After(time.Minute)
		for {
			select {
			case s := <-states:
				if s.Kind == kind {
					return s
				}
			case <-late:
				t.Fatalf("no %v", kind)
			}
		}
	}
	first := await(session.NewSession)
	create("/before")
	s.Close()
	backup := mem.CrashClone(100)
	s = startOn(t, mem, addr)
	for i := range 20 { // more than what trying sessions brings the backup forward
		create("/later" + strconv.Itoa(i))
	}
	s.Close()
	startOn(t, backup, addr)
	await(session.Expired)
	if second := await(session.NewSession); second.SessionID == first.SessionID {
		t.Error("the same session")
	}
	if _, ok, err := c.Exists(t.Context(), "/before"); !ok || err != nil {
		t.Errorf("/before: %v, %v", ok, err)
	}
	if _, ok, err := c.Exists(t.Context(), "/later0"); ok || err != nil {
		t.Errorf("/later0: %v, %v", ok, err)
	}
}
