package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// Meta is what the meta.properties of the directories agree on.
type Meta struct {
	// BrokerID is -1 if none has one.
	BrokerID kafka.BrokerID
	// ClusterID is empty if none has one.
	ClusterID string
}

func (m *Manager) open(ctx context.Context) error {
	seen := map[string]bool{}
	for _, p := range m.o.Dirs {
		p = path.Clean(p)
		if seen[p] {
			return fmt.Errorf("log: directory %s is named twice", p)
		}
		seen[p] = true
		d := &logDir{
			path: p, failure: &failure{}, wake: make(chan struct{}, 1), rolled: map[*Log]bool{}, down: make(chan struct{}),
			room:  room{asked: make(chan struct{}, 1)},
			saved: map[string]map[kafka.TopicPartition]int64{},
		}
		m.dirs = append(m.dirs, d)
		if err := d.claim(m); err != nil {
			return err
		}
	}
	if err := m.someLive(); err != nil {
		return err
	}
	if err := m.checkMeta(); err != nil {
		return err
	}
	if err := m.survey(); err != nil {
		return err
	}
	m.prepare()
	if err := m.someLive(); err != nil {
		return err
	}
	m.startOpening(ctx)
	if m.o.Background {
		return nil
	}
	<-m.opened
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.someLive()
}

// someLive fails if all directories are offline.
func (m *Manager) someLive() error {
	if len(m.live()) == 0 {
		return fmt.Errorf("%w: all log directories", errors.Join(ErrOffline, m.failures()))
	}
	return nil
}

func (m *Manager) failures() error {
	var errs []error
	for _, d := range m.dirs {
		errs = append(errs, d.failure.get())
	}
	return errors.Join(errs...)
}

// claim makes and locks the directory and reads its meta.properties. Only what
// the operator must put right is returned; a directory that can't be used is
// offline.
func (d *logDir) claim(m *Manager) error {
	if err := makeDurably(m.o.FS, d.path); err != nil {
		d.fail(m, err)
		return nil
	}
	lock, err := m.o.FS.Lock(path.Join(d.path, checkpoint.LockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("log: directory %s is in use: %w", d.path, err)
	}
	if err != nil {
		d.fail(m, err)
		return nil
	}
	d.lock = lock
	d.meta, err = checkpoint.ReadMeta(m.o.FS, path.Join(d.path, checkpoint.MetaPropertiesFile))
	switch {
	case err == nil:
		d.hasMeta = true
	case errors.Is(err, fs.ErrNotExist):
		d.meta = checkpoint.Meta{BrokerID: -1}
	default:
		d.fail(m, err)
	}
	return nil
}

// makeDurably makes a directory and its parents, if they are not there: a crash of
// the machine must not take away the directory of what was synced in it.
func makeDurably(f vfs.FS, dir string) error {
	var parents []string
	for at := dir; ; at = path.Dir(at) {
		ok, err := exists(f, at)
		if err != nil {
			return err
		}
		if ok || path.Dir(at) == at {
			break
		}
		parents = append(parents, path.Dir(at))
	}
	if err := f.MkdirAll(dir); err != nil {
		return err
	}
	for _, p := range parents {
		if err := f.SyncDir(p); err != nil {
			return err
		}
	}
	return nil
}

// checkMeta fails where the directories contradict each other.
func (m *Manager) checkMeta() error {
	var first *logDir
	ids := map[string]string{}
	for _, d := range m.live() {
		if !d.hasMeta {
			continue
		}
		if d.meta.Version != 0 {
			return fmt.Errorf("log: %s: meta.properties has version %d, a directory of a KRaft broker; version 0 is ZooKeeper's", d.path, d.meta.Version)
		}
		if id := d.meta.DirectoryID; id != "" {
			if other, ok := ids[id]; ok {
				return fmt.Errorf("log: %s and %s both have directory.id %s: one is a copy of the other", other, d.path, id)
			}
			ids[id] = d.path
		}
		if first == nil {
			first = d
			continue
		}
		if a, b := first.meta.BrokerID, d.meta.BrokerID; a != b {
			return fmt.Errorf("log: meta.properties disagree: broker.id %d in %s, %d in %s", a, first.path, b, d.path)
		}
		if a, b := first.meta.ClusterID, d.meta.ClusterID; a != b {
			return fmt.Errorf("log: meta.properties disagree: cluster.id %s in %s, %s in %s", a, first.path, b, d.path)
		}
	}
	if m.o.CheckMeta != nil {
		return m.o.CheckMeta(m.ReadMeta())
	}
	return nil
}

// ReadMeta returns what the meta.properties of the live directories agree on.
func (m *Manager) ReadMeta() Meta {
	for _, d := range m.live() {
		if d.hasMeta {
			return Meta{BrokerID: d.meta.BrokerID, ClusterID: d.meta.ClusterID}
		}
	}
	return Meta{BrokerID: -1}
}

// WriteMeta writes the meta.properties where they differ. Not for use by many
// goroutines.
func (m *Manager) WriteMeta(meta Meta) error {
	for _, d := range m.live() {
		// First: with a meta.properties a directory does not look new any more.
		if err := m.unsettle(d); err != nil {
			return err
		}
		want := d.meta
		want.Version, want.BrokerID, want.ClusterID = 0, meta.BrokerID, meta.ClusterID
		if d.hasMeta && d.meta == want {
			continue
		}
		if err := checkpoint.WriteMeta(m.o.FS, path.Join(d.path, checkpoint.MetaPropertiesFile), want, time.Now()); err != nil {
			if vfs.NoSpace(err) && (d.hasMeta || len(d.found) > 0) { // its logs are worth more
				m.o.Logger.Warn("no room to write meta.properties: the next start tries again", "dir", d.path, "err", err)
				continue
			}
			return d.fail(m, err)
		}
		d.meta, d.hasMeta = want, true
	}
	return nil
}

// The names of directories that are no logs in use.
var (
	deadName   = regexp.MustCompile(`^\S+-\S+\.\S+-delete$`)
	strayName  = regexp.MustCompile(`^\S+-\S+\.\S+-stray$`)
	futureName = regexp.MustCompile(`^\S+-\S+\.\S+-future$`)
)

// indexCacheDir belongs to tiered storage.
const indexCacheDir = "remote-log-index-cache"

// survey lists what is in the directories and refuses what should not be there.
func (m *Manager) survey() error {
	where := map[kafka.TopicPartition]*logDir{}
	for _, d := range m.live() {
		names, err := d.subdirs(m)
		if err != nil {
			d.fail(m, err)
			continue
		}
		for _, name := range names {
			switch {
			case deadName.MatchString(name):
				d.dead = append(d.dead, name)
				continue
			case name == indexCacheDir:
				m.o.Logger.Warn("directory left alone", "dir", path.Join(d.path, name))
				continue
			case strayName.MatchString(name):
				d.strays = append(d.strays, name)
				continue
			case futureName.MatchString(name):
				d.futures = append(d.futures, name)
				continue
			}
			tp, err := kafka.ParseTopicPartition(name)
			if err == nil {
				err = kafka.ValidateTopicName(tp.Topic)
			}
			if err != nil {
				return fmt.Errorf("log: %s is no topic's: a log directory should only contain Kafka topic data; move it away: %w", path.Join(d.path, name), err)
			}
			if tp.Topic == kafka.ClusterMetadataTopic {
				continue
			}
			if other, ok := where[tp]; ok {
				if other, err = m.settleTwice(tp, other, d); err != nil {
					return err
				}
				where[tp] = other
				continue
			}
			where[tp] = d
			d.found = append(d.found, tp)
		}
	}
	return nil
}

// subdirs returns the names of the directories in d.
func (d *logDir) subdirs(m *Manager) ([]string, error) {
	names, err := m.o.FS.List(d.path)
	if err != nil {
		return nil, err
	}
	dirs := names[:0]
	for _, name := range names {
		st, err := m.o.FS.Stat(path.Join(d.path, name))
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			dirs = append(dirs, name)
		}
	}
	return dirs, nil
}

// initCheckpoints writes those that are missing.
func (d *logDir) initCheckpoints(m *Manager) error {
	for _, save := range []func(*Manager) error{d.saveRecoveryPoints, d.saveStartOffsets, d.saveHighWatermarks, d.saveFirstDirty} {
		if err := save(m); err != nil && !errors.Is(err, ErrNoRoom) {
			return err
		}
	}
	return nil
}
