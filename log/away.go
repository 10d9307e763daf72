package log

import (
	"errors"
	"fmt"
	"path"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// Why a log is moved away.
const (
	toDelete = "delete"
	toStray  = "stray"
)

// Delete removes the log of a partition: its directory is renamed at once and
// removed later. A copy that is being made of it goes, too. ErrNotFound if there
// is none.
func (m *Manager) Delete(tp kafka.TopicPartition, reason string) error {
	return m.moveAway(tp, nil, toDelete, reason)
}

// SetAside takes the log of a partition out of use and keeps its files, under a
// name that ends in -stray, until ManagerOptions.StrayRetention is over. ErrNotFound
// if there is none.
func (m *Manager) SetAside(tp kafka.TopicPartition, reason string) error {
	return m.moveAway(tp, nil, toStray, reason)
}

// SetAsideLog is SetAside, but only if the partition's log is still l.
func (m *Manager) SetAsideLog(l *Log, reason string) error {
	return m.moveAway(l.tp, l, toStray, reason)
}

// moveAway closes a log and renames its directory. One that is being opened goes
// as soon as it is open.
func (m *Manager) moveAway(tp kafka.TopicPartition, only *Log, how, reason string) error {
	m.creating.Lock()
	defer m.creating.Unlock()
	if l, ok := m.Get(tp); only != nil && (!ok || l != only) {
		return fmt.Errorf("%w: %s", ErrNotFound, tp)
	}
	if err := m.dropFuture(tp, reason); err != nil {
		m.o.Logger.Error("a copy in another directory could not be removed", "partition", tp.String(), "err", err)
	}
	m.mu.Lock()
	delete(m.preferred, tp)
	e, ok := m.logs[tp]
	delete(m.logs, tp)
	if u := m.unopened[tp]; !ok && u != nil {
		u.away, u.why = how, reason
		begun := u.begun
		m.mu.Unlock()
		if begun {
			return nil
		}
		return m.putUnopenedAway(tp, u)
	}
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotFound, tp)
	}
	return e.dir.unlessDown(func() error {
		if err := e.log.Abandon(); err != nil {
			return err
		}
		return m.putUnopenedAway(tp, &unopened{dir: e.dir, away: how, why: reason})
	})
}

// putUnopenedAway is putAway of a log that is not open. Where there is no room for
// the new name the log is as one that is still to be opened, so that nobody makes
// another, until there is (retryShort).
func (m *Manager) putUnopenedAway(tp kafka.TopicPartition, u *unopened) error {
	err := m.putAway(u.dir, path.Join(u.dir.path, tp.String()), tp, u.away, u.why)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !errors.Is(err, ErrNoRoom) {
		delete(m.unopened, tp)
		return err
	}
	u.begun, u.short = false, true
	m.unopened[tp] = u
	return err
}

// putAway renames the directory of a log that is closed.
func (m *Manager) putAway(d *logDir, dir string, tp kafka.TopicPartition, how, reason string) error {
	if err := d.failure.get(); err != nil {
		return err
	}
	name := path.Join(d.path, awayName(tp, how))
	if err := m.o.FS.Rename(dir, name); err != nil {
		if vfs.NoSpace(err) {
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		return d.fail(m, err)
	}
	now := time.Now()
	if how == toStray { // its age counts from now
		if err := m.o.FS.Chtimes(name, now); err != nil {
			return d.fail(m, err)
		}
	}
	if err := m.o.FS.SyncDir(d.path); err != nil {
		return d.fail(m, err)
	}
	if how == toStray {
		m.o.Logger.Warn("log set aside", "partition", tp.String(), "why", reason, "renamed", name, "removed_after", m.o.StrayRetention.String())
		if m.o.StrayRetention > 0 {
			d.buryLater(name, now.Add(m.o.StrayRetention))
		}
		return nil
	}
	m.o.Logger.Info("log deleted", "partition", tp.String(), "why", reason, "renamed", name)
	d.buryLater(name, now.Add(time.Duration(m.deleteDelay.Load())))
	m.dropCache(name)
	return nil
}

// strayGrace is how long a stray that was found at the start lives at least: time
// for an operator who wonders where it is.
const strayGrace = 24 * time.Hour

// noteStrays lets what was set aside in an earlier life be removed in time.
func (d *logDir) noteStrays(m *Manager) {
	for _, name := range d.strays {
		full := path.Join(d.path, name)
		if m.o.StrayRetention <= 0 {
			m.o.Logger.Warn("a log that was set aside is kept until somebody deletes it", "dir", full)
			continue
		}
		st, err := m.o.FS.Stat(full)
		if err != nil {
			d.fail(m, err)
			return
		}
		due := st.ModTime().Add(m.o.StrayRetention)
		if earliest := time.Now().Add(strayGrace); due.Before(earliest) {
			due = earliest
		}
		m.o.Logger.Warn("a log that was set aside will be removed", "dir", full, "when", due.Format(time.RFC3339))
		d.buryLater(full, due)
	}
}

// dropCache gives back the memory that caches the segments in a deleted log's
// directory, long before the files go. It does what it can: without it the memory
// comes back with the files.
func (m *Manager) dropCache(dir string) {
	names, err := m.o.FS.List(dir)
	if err != nil {
		return
	}
	for _, name := range names {
		if path.Ext(name) != logSuffix {
			continue
		}
		if f, err := m.o.FS.Open(path.Join(dir, name)); err == nil {
			vfs.DropCache(f)
			_ = f.Close() // read only
		}
	}
}
