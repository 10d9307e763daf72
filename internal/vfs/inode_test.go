package vfs

import (
	"syscall"
	"testing"
)

// TestMemInode: a file keeps its inode through a rename and a crash, and no other
// has it.
func TestMemInode(t *testing.T) {
	m := NewMem()
	inode := func(m *Mem, name string) uint64 {
		t.Helper()
		st, err := m.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Ino
	}
	create := func(m *Mem, name string) {
		t.Helper()
		f, err := m.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	create(m, "a")
	first := inode(m, "a")
	create(m, "a") // is truncated
	if err := m.Rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	create(m, "a")
	if first == 0 || inode(m, "b") != first || inode(m, "a") == first || inode(m, "/") == first {
		t.Errorf("inodes %d, %d after a rename", inode(m, "b"), inode(m, "a"))
	}
	c := m.CrashClone(100)
	create(c, "new")
	if inode(c, "b") != first || inode(c, "new") == inode(m, "a") {
		t.Errorf("inodes %d and %d after a crash", inode(c, "b"), inode(c, "new"))
	}
}
