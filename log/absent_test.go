package log

import (
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// TestMissingIsOfATopic: a topic is deleted and made again on a full disk, so that
// the checkpoint still names the log of the old one. That says nothing of the new
// one, which was never made; and of the new one, once made, it does.
func TestMissingIsOfATopic(t *testing.T) {
	mem := vfs.NewMem()
	full := false
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if full && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate || op.Kind == vfs.OpMkdir) {
			return syscall.ENOSPC
		}
		return nil
	})
	one := func(o *ManagerOptions) { o.Dirs = []string{"/a"} }
	old, young := kafka.TopicID{7}, kafka.TopicID{8}
	m := mustManager(t, fs, one)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	must(t, m.Settle())
	_, err := m.GetOrCreate(part(0), old, true)
	must(t, err)
	must(t, m.dirs[0].saveRecoveryPoints(m))

	full = true
	must(t, m.Delete(part(0), "test"))
	if _, err := m.GetOrCreate(part(0), young, true); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("on a full disk: %v", err)
	}
	full = false
	mem = mem.CrashClone(100) // a kill
	is := func(id kafka.TopicID, what string, want error) {
		t.Helper()
		m = mustManager(t, mem, one)
		defer func() { mem = mem.CrashClone(100) }()
		if _, err := m.GetOrCreate(part(0), id, false); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	is(young, "of the new topic nothing was here", ErrNotFound)
	is(old, "of the old one there was", ErrMissing)
	is(kafka.TopicID{}, "whatever topic it is, there was something", ErrMissing)

	// The new one is made, and lost.
	m = mustManager(t, mem, one)
	_, err = m.GetOrCreate(part(0), young, true)
	must(t, err)
	must(t, m.Close())
	must(t, mem.RemoveAll("/a/t-0"))
	is(young, "it was here", ErrMissing)
	is(old, "the old one was forgotten when the new one was made", ErrNotFound)

	// Apache Kafka drops what it does not know.
	points, err := checkpoint.ReadOffsets(mem, "/a/"+checkpoint.RecoveryPointFile)
	must(t, err)
	ids := 0
	for tp := range points {
		if strings.Contains(tp.Topic, idMark) {
			delete(points, tp)
			ids++
		}
	}
	if ids == 0 {
		t.Fatal("the checkpoint names no topic's id")
	}
	must(t, checkpoint.WriteOffsets(mem, "/a/"+checkpoint.RecoveryPointFile, points))
	is(old, "named, and nobody knows of which topic", ErrMissing)
}

// TestMissingByAnEmptyDirectory: what is missing since a directory was empty is
// remembered of its topic over restarts, and not of another one.
func TestMissingByAnEmptyDirectory(t *testing.T) {
	mem := vfs.NewMem()
	for i, id := range []kafka.TopicID{{7}, {7}, {8}} {
		m := mustManager(t, mem, nil) // the first finds empty directories
		want := ErrMissing
		if i == 2 {
			want = ErrNotFound
		}
		if _, err := m.GetOrCreate(part(0), id, false); !errors.Is(err, want) {
			t.Errorf("start %d: got %v, want %v", i, err, want)
		}
		must(t, m.WriteMeta(Meta{BrokerID: 1}))
		if i == 0 {
			m.NoteMissing(part(0), id)
			must(t, m.Settle())
		}
		must(t, m.Close())
	}
}

// TestMissingUntilSettled: that a directory was empty, or is no longer in log.dirs, is
// known at every start until what is missing by that was noted; then no more is.
func TestMissingUntilSettled(t *testing.T) {
	mem := vfs.NewMem()
	id := kafka.TopicID{7}
	is := func(what string, n int, want error, settle bool, dirs ...string) {
		t.Helper()
		m := mustManager(t, mem, func(o *ManagerOptions) { o.Dirs = dirs })
		if err := m.Absent(part(n), id); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
		must(t, m.WriteMeta(Meta{BrokerID: 1}))
		if settle {
			if want != nil {
				m.NoteMissing(part(n), id)
			}
			must(t, m.Settle())
		}
		mem = mem.CrashClone(0)
	}
	is("new directories", 0, ErrMissing, false, "/a", "/b")
	is("not noted by the first start", 0, ErrMissing, true, "/a", "/b")
	is("noted", 0, ErrMissing, false, "/a", "/b")
	is("never here", 1, nil, false, "/a", "/b")
	is("one was taken away", 1, ErrMissing, false, "/b")
	is("still so", 1, ErrMissing, true, "/b")
	is("noted", 1, ErrMissing, false, "/b")
	is("never here", 2, nil, true, "/b")
	is("one came back", 2, ErrMissing, true, "/a", "/b")
	is("noted", 2, ErrMissing, true, "/a", "/b")
	is("never here", 3, nil, true, "/a", "/b")
	must(t, mem.Remove("/a/"+dirsFile))
	is("one was another's", 3, ErrMissing, true, "/a", "/b")
	must(t, vfs.WriteFileAtomic(mem, "/b/"+dirsFile, []byte("nonsense")))
	is("one is damaged", 4, ErrMissing, true, "/a", "/b")
	must(t, mem.Remove("/a/"+dirsFile))
	must(t, mem.Remove("/b/"+dirsFile))
	is("both were Apache Kafka's", 5, nil, true, "/a", "/b")
}

// TestAskingNotesNothing: only what is noted as missing is remembered.
func TestAskingNotesNothing(t *testing.T) {
	m := mustManager(t, vfs.NewMem(), nil)
	if err := m.Absent(part(0), kafka.TopicID{7}); !errors.Is(err, ErrMissing) {
		t.Fatalf("got %v", err)
	}
	if _, err := m.GetOrCreate(part(0), kafka.TopicID{7}, false); !errors.Is(err, ErrMissing) {
		t.Fatalf("got %v", err)
	}
	for _, d := range m.dirs {
		if len(d.missing) != 0 {
			t.Errorf("asking noted %v", d.missing)
		}
	}
	_, err := m.GetOrCreate(part(1), kafka.TopicID{7}, true)
	must(t, err)
	for n := range 2 {
		m.NoteMissing(part(n), kafka.TopicID{7})
	}
	if d := m.dirs[0]; len(d.missing) != 1 {
		t.Errorf("noted %v, want the one that has no log", d.missing)
	}
	must(t, m.Close())
}

func FuzzDirs(f *testing.F) {
	f.Add([]byte(`{"version":1,"dirs":["/a","/b"],"settled":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeDirs(data); err != nil && (r.Settled || r.Dirs != nil) {
			t.Errorf("%v, and yet %+v", err, r)
		}
	})
}

// TestIDsOfUnopened: what is not open yet keeps its topic in the checkpoint, and one
// log of unknown topic makes its name say nothing.
func TestIDsOfUnopened(t *testing.T) {
	points, ids := splitIDs(map[kafka.TopicPartition]int64{part(0): 3, part(1): 0, idEntry("t", kafka.TopicID{7}): 0, {Topic: "u:broken"}: 0})
	if len(points) != 2 || len(ids) != 1 || ids["t"][0] != (kafka.TopicID{7}) {
		t.Fatalf("got %v, %v", points, ids)
	}
	m := &Manager{unopened: map[kafka.TopicPartition]*unopened{}}
	d := &logDir{ids: ids, missing: map[kafka.TopicPartition][]kafka.TopicID{part(1): {{8}}}}
	m.unopened[part(0)] = &unopened{dir: d}
	d.nameIDsLocked(m, points)
	for _, id := range []kafka.TopicID{{7}, {8}} {
		if _, ok := points[idEntry("t", id)]; !ok {
			t.Errorf("%v is not named: %v", id, points)
		}
	}
	d.ids = nil
	clear(points)
	points[part(0)], points[part(1)] = 3, 0
	if d.nameIDsLocked(m, points); len(points) != 2 {
		t.Errorf("a topic is named for a log of which it is not known: %v", points)
	}
}

// TestMissingOnesAreMadeCheaply: where thousands are missing, as after a disk was
// replaced, each that is made writes no checkpoint of all.
func TestMissingOnesAreMadeCheaply(t *testing.T) {
	m := mustManager(t, vfs.NewMem(), func(o *ManagerOptions) { o.Dirs = []string{"/a"} })
	defer m.Close()
	d := m.dirs[0]
	for n := range 5 {
		if err := m.Absent(part(n), kafka.TopicID{7}); !errors.Is(err, ErrMissing) {
			t.Fatalf("partition %d of an empty directory: %v", n, err)
		}
		m.NoteMissing(part(n), kafka.TopicID{7})
	}
	must(t, d.saveRecoveryPoints(m))
	must(t, d.saveHighWatermarks(m))
	before := reflect.ValueOf(d.saved[checkpoint.HighWatermarkFile]).Pointer()
	if _, named := d.saved[checkpoint.RecoveryPointFile][part(4)]; !named {
		t.Fatal("what is missing is not remembered")
	}
	for n := range 5 {
		_, err := m.GetOrCreate(part(n), kafka.TopicID{7}, true)
		must(t, err)
	}
	if reflect.ValueOf(d.saved[checkpoint.HighWatermarkFile]).Pointer() != before {
		t.Error("a checkpoint was written for one log")
	}
}
