package log

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// A log is moved to another directory by way of a copy there, its future log, in a
// directory whose name ends in -future. Whoever copies has BeginMove make it,
// appends to it what the log has, and then lets it take the log's place (Swap). A
// crash in between leaves both, and the copying goes on after the next start.
//
// Swap renames the copy before it renames the old log away. A crash between the two
// leaves the partition in two directories; a small file in the new one,
// replacesFile, says which it replaces, and so the start knows.

// A log that is made while a directory is offline says the same of that one, since
// it may hold an older log of the partition: of an earlier topic of the name, of an
// earlier stay of the replica, or one whose making failed. That is set aside.

// replacesFile holds the paths of the log directories whose logs this one replaces, a
// line each. What lies in one after setAsideMark is set aside, else deleted.
const (
	replacesFile = ".barnabas-replaces"
	setAsideMark = "set-aside "
)

// ErrNoSuchDir: a directory is none of log.dirs.
var ErrNoSuchDir = errors.New("log: not one of the log directories")

// maxPreferred bounds the partitions whose directories are remembered.
const maxPreferred = 10000

// dirAt finds a log directory by its path, which may be absolute where the
// configured one is not.
func (m *Manager) dirAt(name string) (*logDir, error) {
	for _, d := range m.dirs {
		whole, err := filepath.Abs(d.path)
		if d.path == name || err == nil && whole == name {
			return d, d.failure.get()
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoSuchDir, name)
}

// CheckDir fails if a directory is not configured (ErrNoSuchDir) or offline.
func (m *Manager) CheckDir(dir string) error {
	_, err := m.dirAt(dir)
	return err
}

// HasFutureName reports whether a copy of the partition can have a name; Kafka
// cuts that of a deleted log, not this one.
func HasFutureName(tp kafka.TopicPartition) bool {
	return len(tp.String())+len(".")+32+len("-future") <= maxName
}

// Prefer remembers in which directory the log of a partition is to be made that has
// none yet.
func (m *Manager) Prefer(tp kafka.TopicPartition, dir string) error {
	d, err := m.dirAt(dir)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.preferred) < maxPreferred {
		m.preferred[tp] = d
	}
	return nil
}

// placeFor is the directory for a new log.
func (m *Manager) placeFor(tp kafka.TopicPartition) (*logDir, error) {
	m.mu.Lock()
	d := m.preferred[tp]
	delete(m.preferred, tp)
	m.mu.Unlock()
	if d != nil && d.failure.get() == nil {
		return d, nil
	}
	return m.roomiest()
}

// placeAgain lets a log that could be made in part only be made in the same
// directory: it must not be in two.
func (m *Manager) placeAgain(tp kafka.TopicPartition, d *logDir, dir string) {
	if there, err := exists(m.o.FS, dir); err == nil && !there {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.preferred[tp] = d
}

// Future returns the copy of a partition's log that is being made.
func (m *Manager) Future(tp kafka.TopicPartition) (*Log, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.futures[tp]
	return e.log, ok
}

// Futures are the partitions of which copies are being made.
func (m *Manager) Futures() []kafka.TopicPartition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Keys(m.futures))
}

// BeginMove makes an empty copy of a partition's log in another directory, to be
// filled. It reports false if there is nothing to begin: the log is there already
// (a copy that was being made elsewhere is given up), or so is the copy. While a
// directory is offline nothing is begun (ErrOffline), as in Kafka: a copy may be in
// it.
func (m *Manager) BeginMove(tp kafka.TopicPartition, dir string) (begun bool, err error) {
	d, err := m.dirAt(dir)
	if err != nil {
		return false, err
	}
	m.creating.Lock()
	defer m.creating.Unlock()
	m.mu.RLock()
	current, ok := m.logs[tp]
	future, copying := m.futures[tp]
	m.mu.RUnlock()
	if !ok {
		return false, fmt.Errorf("%w: %s", ErrNotFound, tp)
	}
	if copying && future.dir == d {
		return false, nil
	}
	if copying {
		if err := m.dropFuture(tp, "the log is to go elsewhere"); err != nil {
			return false, err
		}
	}
	if current.dir == d {
		return false, nil
	}
	for _, other := range m.dirs {
		if err := other.failure.get(); err != nil {
			return false, err
		}
	}
	err = d.unlessDown(func() error { return m.makeFuture(d, tp, current.log) })
	return err == nil, err
}

func (m *Manager) makeFuture(d *logDir, tp kafka.TopicPartition, of *Log) error {
	if err := d.forget(m, tp); err != nil {
		return err
	}
	o := m.openOptions(d, tp)
	o.Dir, o.Clean, o.Options = path.Join(d.path, awayName(tp, "future")), true, *of.Options()
	l, err := Open(o)
	if vfs.NoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return d.fail(m, err)
	}
	if id := of.TopicID(); !id.IsZero() {
		if err := l.SetTopicID(id); err != nil {
			return errors.Join(err, l.Abandon())
		}
	}
	l.firstDirty.Store(of.firstDirty.Load()) // nothing is compacted from now on
	m.mu.Lock()
	m.futures[tp] = managed{log: l, dir: d}
	m.mu.Unlock()
	m.o.Logger.Info("moving a log to another directory", "partition", tp.String(), "from", of.Dir(), "to", d.path)
	return nil
}

// DropFuture gives up the copy of a partition's log. In a directory that is offline
// its files stay, and the copying goes on when that comes back.
func (m *Manager) DropFuture(tp kafka.TopicPartition, reason string) error {
	m.creating.Lock()
	defer m.creating.Unlock()
	return m.dropFuture(tp, reason)
}

func (m *Manager) dropFuture(tp kafka.TopicPartition, reason string) error {
	m.mu.Lock()
	e, ok := m.futures[tp]
	delete(m.futures, tp)
	m.mu.Unlock()
	if !ok || e.dir.failure.get() != nil {
		return nil
	}
	return e.dir.unlessDown(func() error {
		if err := e.log.Abandon(); err != nil {
			return err
		}
		return m.putAway(e.dir, e.log.Dir(), tp, toDelete, reason)
	})
}

// Swap lets the copy take the place of the log, which is deleted, and returns it.
// The caller made sure that the copy has all that the log has, and that nothing
// changes either meanwhile. On an error the log is what it was, unless the new
// directory failed half-way: then the partition is offline, since nobody knows
// which of the two the next start finds.
func (m *Manager) Swap(tp kafka.TopicPartition) (*Log, error) {
	m.creating.Lock()
	defer m.creating.Unlock()
	m.mu.RLock()
	old, ok := m.logs[tp]
	future, copying := m.futures[tp]
	m.mu.RUnlock()
	if !ok || !copying {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, tp)
	}
	if err := future.log.adopt(old.log); err != nil {
		return nil, err
	}
	var made *Log
	err := future.dir.unlessDown(func() error {
		l, err := m.install(tp, old, future)
		made = l
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := old.dir.unlessDown(func() error {
		if err := old.log.Abandon(); err != nil {
			return err
		}
		return m.putAway(old.dir, old.log.Dir(), tp, toDelete, "it was moved to "+future.dir.path)
	}); err != nil {
		return made, nil // told where it failed; the next start with that directory removes it
	}
	if err := m.o.FS.Remove(path.Join(made.Dir(), replacesFile)); err != nil {
		return nil, future.dir.fail(m, err)
	}
	return made, nil
}

// install closes the copy, gives its directory the log's name, and opens it there.
// Where there is no room for that the copy stays what it was.
func (m *Manager) install(tp kafka.TopicPartition, old, future managed) (*Log, error) {
	d := future.dir
	start, watermark := future.log.StartOffset(), old.log.HighWatermark()
	err := d.saveStartOffsets(m) // what was deleted stays so over a crash
	if err == nil {
		err = m.dropReplaces(old.log.Dir()) // else each might say that it replaces the other
	}
	if err == nil {
		err = vfs.WriteFileAtomic(m.o.FS, path.Join(future.log.Dir(), replacesFile), []byte(old.dir.path+"\n"))
	}
	if err == nil {
		err = future.log.closeIfRoom()
	}
	if d.shortOfRoom(err) {
		return nil, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	m.mu.Lock()
	delete(m.futures, tp)
	m.mu.Unlock()
	if err != nil {
		return nil, d.fail(m, err)
	}
	o := m.openOptions(d, tp)
	if err := m.o.FS.Rename(future.log.Dir(), o.Dir); err != nil {
		if vfs.NoSpace(err) {
			return nil, m.reopenFuture(tp, future, err)
		}
		return nil, d.fail(m, err)
	}
	// From here on a start would take the new one.
	o.Clean, o.StartOffset, o.RecoveryPoint, o.Options = true, start, future.log.RecoveryPoint(), *old.log.Options()
	err = m.o.FS.SyncDir(d.path)
	var l *Log
	if err == nil {
		l, err = Open(o)
	}
	if err != nil {
		err = d.fail(m, err)
		l = future.log // closed, and its directory is offline
	} else {
		l.ResetHighWatermark(watermark)
		l.firstDirty.Store(future.log.firstDirty.Load())
	}
	m.mu.Lock()
	m.logs[tp] = managed{log: l, dir: d}
	m.mu.Unlock()
	return l, err
}

// reopenFuture opens a copy again that was closed to take the log's place, and found
// no room for its name.
func (m *Manager) reopenFuture(tp kafka.TopicPartition, future managed, why error) error {
	d := future.dir
	o := m.openOptions(d, tp)
	o.Dir, o.Clean, o.Options = future.log.Dir(), true, *future.log.Options()
	o.StartOffset, o.RecoveryPoint = future.log.StartOffset(), future.log.RecoveryPoint()
	l, err := Open(o)
	if err != nil {
		return d.fail(m, err)
	}
	l.ResetHighWatermark(future.log.HighWatermark())
	l.firstDirty.Store(future.log.firstDirty.Load())
	m.mu.Lock()
	m.futures[tp] = managed{log: l, dir: d}
	m.mu.Unlock()
	return fmt.Errorf("%w: %w", ErrNoRoom, why)
}

// adopt takes over what a log knows of leader epochs: that one began without a
// record is in no batch.
func (l *Log) adopt(from *Log) error {
	from.mu.Lock()
	entries := slices.Clone(from.epochs.entries)
	from.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	if slices.Equal(l.epochs.entries, entries) {
		return nil
	}
	l.epochs.entries = entries
	if err := l.epochs.truncateFromStart(l.start.Load()); err != nil {
		return l.failIf(err)
	}
	return l.failIf(l.epochs.save())
}

// noteReplaces lets the directory of a log that is about to be made say that it
// replaces what may be in the directories that are offline, or were taken out of
// log.dirs before this start: they may come back.
func (m *Manager) noteReplaces(dir string) error {
	var note strings.Builder
	for _, d := range m.dirs {
		if d.failure.get() != nil {
			note.WriteString(setAsideMark + d.path + "\n")
		}
	}
	for _, dir := range m.takenOut {
		note.WriteString(setAsideMark + dir + "\n")
	}
	if note.Len() == 0 {
		return nil
	}
	if err := m.o.FS.MkdirAll(dir); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(m.o.FS, path.Join(dir, replacesFile), []byte(note.String()))
}

// dropReplaces takes away, durably, what noteReplaces wrote.
func (m *Manager) dropReplaces(dir string) error {
	switch err := m.o.FS.Remove(path.Join(dir, replacesFile)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return m.o.FS.SyncDir(dir)
}

// replaces tells how the log of a partition in x replaces the one in y: toDelete,
// toStray, or not ("").
func (m *Manager) replaces(tp kafka.TopicPartition, x, y *logDir) (string, error) {
	data, err := vfs.ReadFile(m.o.FS, path.Join(x.path, tp.String(), replacesFile), 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for line := range strings.Lines(string(data)) {
		switch strings.TrimSuffix(line, "\n") {
		case y.path:
			return toDelete, nil
		case setAsideMark + y.path:
			return toStray, nil
		}
	}
	return "", err
}

// settleTwice decides between the logs of one partition in two directories, where a
// swap was cut short, or a directory is back: the one that replaces the other stays.
// It returns where that is.
func (m *Manager) settleTwice(tp kafka.TopicPartition, a, b *logDir) (*logDir, error) {
	stays, goes := a, b
	how, err := m.replaces(tp, a, b)
	if err == nil && how == "" {
		stays, goes = b, a
		how, err = m.replaces(tp, b, a)
	}
	if err != nil {
		return nil, err
	}
	if how == "" {
		return nil, fmt.Errorf("log: %s is in two directories, %s and %s; move one away", tp, a.path, b.path)
	}
	name := awayName(tp, how)
	full := path.Join(goes.path, name)
	err = m.o.FS.Rename(path.Join(goes.path, tp.String()), full)
	if vfs.NoSpace(err) { // the next start says the same
		m.o.Logger.Warn("no room to rename a log that another replaces: left alone", "partition", tp.String(), "old", goes.path, "new", stays.path, "err", err)
		return settle(tp, stays, goes, b), nil
	}
	if err != nil {
		return nil, err
	}
	if how == toStray { // its age counts from now
		if err := m.o.FS.Chtimes(full, time.Now()); err != nil {
			return nil, err
		}
	}
	if err := m.o.FS.SyncDir(goes.path); err != nil {
		return nil, err
	}
	if how == toStray { // the note stays: another directory may be away still
		m.o.Logger.Warn("a log was made elsewhere while its directory was offline; the old one is set aside", "partition", tp.String(), "old", full, "new", stays.path)
		goes.strays = append(goes.strays, name)
	} else {
		if err := m.o.FS.Remove(path.Join(stays.path, tp.String(), replacesFile)); err != nil {
			return nil, err
		}
		m.o.Logger.Info("a log that was moved to another directory is where it was moved to", "partition", tp.String(), "from", goes.path, "to", stays.path)
		goes.dead = append(goes.dead, name)
	}
	return settle(tp, stays, goes, b), nil
}

// settle takes the log of a partition in the directory that stays, and not in the
// other, for the one that was found. latest is the one that is being surveyed.
func settle(tp kafka.TopicPartition, stays, goes, latest *logDir) *logDir {
	goes.found = slices.DeleteFunc(goes.found, func(o kafka.TopicPartition) bool { return o == tp })
	if stays == latest {
		latest.found = append(latest.found, tp)
	}
	return stays
}

// openFuture is loadFuture, once there is room for it.
func (d *logDir) openFuture(m *Manager, name string) error {
	err := d.loadFuture(m, name)
	if !d.shortOfRoom(err) {
		return err
	}
	m.o.Logger.Warn("no room to open a copy that is being made: tried again", "dir", path.Join(d.path, name), "err", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	d.shortFutures = append(d.shortFutures, name)
	return nil
}

// loadFuture opens a copy that an earlier life of the broker was making, so that it
// is made to the end.
func (d *logDir) loadFuture(m *Manager, name string) error {
	tp, err := kafka.ParseTopicPartition(name[:max(strings.LastIndexByte(name, '.'), 0)])
	if err != nil || kafka.ValidateTopicName(tp.Topic) != nil {
		m.o.Logger.Warn("directory left alone", "dir", path.Join(d.path, name))
		return nil
	}
	if slices.Contains(d.found, tp) {
		return m.putAway(d, path.Join(d.path, name), tp, toDelete, "the log is in the same directory")
	}
	o := d.loadOptions(m, tp)
	o.Dir = path.Join(d.path, name)
	l, err := Open(o)
	if err != nil {
		return err
	}
	d.resumeCompaction(l)
	m.mu.Lock()
	_, twice := m.futures[tp]
	if !twice {
		m.futures[tp] = managed{log: l, dir: d}
	}
	told := m.onOpen
	m.mu.Unlock()
	if twice {
		if err := l.Abandon(); err != nil {
			return err
		}
		return m.putAway(d, l.Dir(), tp, toDelete, "another directory has a copy, too")
	}
	told(tp)
	return nil
}
