package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"
	"time"

	"barnabas/internal/vfs"
)

// each runs a test on the operating system's files, in memory, and behind a
// Failing file system that does not fail.
func each(t *testing.T, test func(t *testing.T, fs vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) { test(t, vfs.NewMem(), "/") })
	t.Run("failing", func(t *testing.T) {
		test(t, vfs.NewFailing(vfs.NewMem(), func(vfs.Op) error { return nil }), "/")
	})
}

func create(t *testing.T, fs vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// read returns what is in a file, or the error.
func read(fs vfs.FS, name string) string {
	b, err := vfs.ReadFile(fs, name, 1<<20)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func TestFiles(t *testing.T) {
	each(t, func(t *testing.T, vf vfs.FS, dir string) {
		name := path.Join(dir, "f")
		_, err := vf.Open(name)
		is(t, err, fs.ErrNotExist)
		f := create(t, vf, name, "hello")
		_, err = f.WriteAt([]byte("!!"), 7) // a hole is zeros
		ok(t, err)
		if got := read(vf, name); got != "hello\x00\x00!!" {
			t.Errorf("got %q", got)
		}
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, 5); n != 4 || err != io.EOF {
			t.Errorf("a read past the end: %d, %v", n, err)
		}
		if n, err := f.ReadAt(b, 100); n != 0 || err != io.EOF {
			t.Errorf("a read after the end: %d, %v", n, err)
		}
		ok(t, f.Preallocate(9, 1<<20))
		if size, err := f.Size(); size != 9 || err != nil {
			t.Errorf("size %d after a preallocation, %v", size, err)
		}
		ok(t, f.Truncate(2))
		ok(t, f.Truncate(4))
		if got := read(vf, name); got != "he\x00\x00" {
			t.Errorf("got %q", got)
		}
		ok(t, f.Sync())
		then := time.Unix(1_600_000_000, 0)
		ok(t, vf.Chtimes(name, then))
		if got, err := f.ModTime(); err != nil || !got.Equal(then) {
			t.Errorf("got %v, %v", got, err)
		}
		st, err := vf.Stat(name)
		if err != nil || st.Size() != 4 || st.IsDir() || st.Name() != "f" || !st.ModTime().Equal(then) {
			t.Errorf("got %v, %v", st, err)
		}
		again, err := vf.OpenReadWrite(name)
		ok(t, err)
		if f.Name() != name || again.Name() != name {
			t.Errorf("names %s, %s", f.Name(), again.Name())
		}
		ok(t, again.Close())
		ro, err := vf.Open(name)
		ok(t, err)
		if _, err := ro.WriteAt([]byte("x"), 0); err == nil {
			t.Error("a write through Open")
		}
		ok(t, ro.Close())
		ok(t, f.Close())
		_, err = f.ReadAt(b, 0)
		is(t, err, fs.ErrClosed)
		if got := read(vf, name); got != "he\x00\x00" {
			t.Errorf("got %q", got)
		}
		if _, err := vfs.ReadFile(vf, name, 3); err == nil {
			t.Error("a file larger than allowed was read")
		}
	})
}

func TestNames(t *testing.T) {
	each(t, func(t *testing.T, vf vfs.FS, dir string) {
		sub := path.Join(dir, "a/b")
		ok(t, vf.MkdirAll(sub))
		ok(t, vf.MkdirAll(sub))
		f := create(t, vf, path.Join(sub, "2"), "two")
		ok(t, create(t, vf, path.Join(sub, "1"), "one").Close())
		names, err := vf.List(sub)
		if err != nil || !slices.Equal(names, []string{"1", "2"}) {
			t.Errorf("got %v, %v", names, err)
		}
		_, err = vf.List(path.Join(dir, "c"))
		is(t, err, fs.ErrNotExist)
		if err := vf.Remove(sub); err == nil {
			t.Error("a directory with files was removed")
		}
		ok(t, vf.Rename(path.Join(sub, "1"), path.Join(sub, "2")))
		if got := read(vf, path.Join(sub, "2")); got != "one" {
			t.Errorf("got %q", got)
		}
		b := make([]byte, 3)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "two" {
			t.Errorf("a replaced file reads %q, %v", b, err)
		}
		ok(t, f.Close())
		is(t, vf.Rename(path.Join(sub, "x"), path.Join(sub, "y")), fs.ErrNotExist)
		is(t, vf.Remove(path.Join(sub, "x")), fs.ErrNotExist)
		ok(t, vf.RemoveAll(path.Join(sub, "x")))
		ok(t, vf.Rename(sub, path.Join(dir, "c")))
		ok(t, vf.SyncDir(dir))
		if got := read(vf, path.Join(dir, "c/2")); got != "one" {
			t.Errorf("got %q", got)
		}
		ok(t, vf.RemoveAll(path.Join(dir, "c")))
		_, err = vf.Stat(path.Join(dir, "c"))
		is(t, err, fs.ErrNotExist)
		if _, err := vf.Open(path.Join(dir, "none/f")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		u, err := vf.Usage(dir)
		if err != nil || u.Total < u.Free || u.Free <= 0 {
			t.Errorf("got %+v, %v", u, err)
		}
	})
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, vf vfs.FS, dir string) {
		name := path.Join(dir, ".lock")
		lock, err := vf.Lock(name)
		ok(t, err)
		_, err = vf.Lock(name)
		is(t, err, vfs.ErrLocked)
		ok(t, lock.Close())
		lock, err = vf.Lock(name)
		ok(t, err)
		ok(t, lock.Close())
	})
}

func TestOSFile(t *testing.T) {
	name := path.Join(t.TempDir(), "f")
	f := create(t, vfs.NewFailing(vfs.OS, func(vfs.Op) error { return nil }), name, "x")
	if file, ok := vfs.OSFile(f); !ok || file.Name() != name {
		t.Error("no descriptor")
	}
	ok(t, f.Close())
	if _, ok := vfs.OSFile(create(t, vfs.NewMem(), "/f", "")); ok {
		t.Error("a file in memory has no descriptor")
	}
}

// TestCrashClone: what a crash leaves at 0, 50 and 100 percent.
func TestCrashClone(t *testing.T) {
	m := vfs.NewMem()
	ok(t, m.MkdirAll("/d"))
	ok(t, m.SyncDir("/"))
	grown := create(t, m, "/d/grown", "0123456789")
	ok(t, grown.Sync())
	changed := create(t, m, "/d/changed", "old")
	ok(t, changed.Sync())
	cut := create(t, m, "/d/cut", "abcdef")
	ok(t, cut.Sync())
	ok(t, create(t, m, "/d/renamed", "r").Sync())
	ok(t, create(t, m, "/d/removed", "gone").Sync())
	ok(t, m.SyncDir("/d"))
	_, err := grown.WriteAt([]byte("abcd"), 10)
	ok(t, err)
	_, err = changed.WriteAt([]byte("NEW and more"), 0)
	ok(t, err)
	ok(t, cut.Truncate(2))
	ok(t, create(t, m, "/d/nameless", "n").Sync())
	ok(t, m.Rename("/d/renamed", "/d/moved"))
	ok(t, m.Remove("/d/removed"))
	for keep, want := range map[int][]string{
		0:   {"changed old", "cut abcdef", "grown 0123456789", "removed gone", "renamed r"},
		50:  {"changed old", "cut abcdef", "grown 0123456789ab", "removed gone", "renamed r"},
		100: {"changed NEW and more", "cut ab", "grown 0123456789abcd", "moved r", "nameless n"},
	} {
		c := m.CrashClone(keep)
		names, err := c.List("/d")
		ok(t, err)
		var got []string
		for _, name := range names {
			got = append(got, name+" "+read(c, "/d/"+name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d%%: got %q, want %q", keep, got, want)
		}
		// A second crash changes nothing.
		if again := read(c.CrashClone(0), "/d/grown"); again != read(c, "/d/grown") {
			t.Errorf("%d%%: a second crash leaves %q", keep, again)
		}
	}
	if got := read(m, "/d/grown"); got != "0123456789abcd" {
		t.Errorf("the living file system has %q", got)
	}
}

// TestWriteFileAtomic: a crash or a failure at any step leaves old or new.
func TestWriteFileAtomic(t *testing.T) {
	old, replaced := "the old content", "what replaces it"
	steps := 0
	for fail := 0; ; fail++ {
		m := vfs.NewMem()
		ok(t, vfs.WriteFileAtomic(m, "/f", []byte(old)))
		n, broken := 0, errors.New("broken")
		var clones []*vfs.Mem
		failing := vfs.NewFailing(m, func(op vfs.Op) error {
			for _, keep := range []int{0, 50, 100} {
				clones = append(clones, m.CrashClone(keep))
			}
			n++
			if n == fail {
				if op.Kind == vfs.OpWrite {
					return &vfs.TornError{Written: 4, Err: broken}
				}
				return fmt.Errorf("%s: %w", op.Kind, broken)
			}
			return nil
		})
		err := vfs.WriteFileAtomic(failing, "/f", []byte(replaced))
		if fail > n {
			steps = n
			ok(t, err)
			if got := read(m.CrashClone(0), "/f"); got != replaced {
				t.Errorf("after success and a crash: %q", got)
			}
			break
		}
		if fail > 0 {
			is(t, err, broken)
		}
		for i, c := range append(clones, m) {
			if got := read(c, "/f"); got != old && got != replaced {
				t.Errorf("failure at step %d, crash %d: %q", fail, i, got)
			}
		}
	}
	if steps != 6 { // create, write, sync, close, rename, syncdir
		t.Errorf("%d steps", steps)
	}
}

func TestRange(t *testing.T) {
	released := 0
	r := vfs.Range{OnRelease: func() { released++ }}
	r.Release()
	r.Release()
	if released != 1 {
		t.Errorf("released %d times", released)
	}
}

func TestTornWrite(t *testing.T) {
	m := vfs.NewMem()
	full := errors.New("disk full")
	f := create(t, m, "/f", "")
	ok(t, f.Close())
	torn, err := vfs.NewFailing(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return &vfs.TornError{Written: 3, Err: full}
		}
		return nil
	}).OpenReadWrite("/f")
	ok(t, err)
	n, err := torn.WriteAt(bytes.Repeat([]byte("x"), 10), 0)
	is(t, err, full)
	if n != 3 || read(m, "/f") != "xxx" {
		t.Errorf("%d bytes, %q", n, read(m, "/f"))
	}
}

// TestDropCache: it is a hint, what was written is still there.
func TestDropCache(t *testing.T) {
	for _, fs := range []vfs.FS{vfs.OS, vfs.NewMem()} {
		dir := t.TempDir()
		if err := fs.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(dir + "/file")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("written"), 0); err != nil {
			t.Fatal(err)
		}
		vfs.DropCache(f)
		got := make([]byte, 7)
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != "written" {
			t.Errorf("read %q, %v", got, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
