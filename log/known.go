package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"barnabas/internal/vfs"
)

// Each log directory says, in a small file of ours, which the log directories of this
// broker are. So a broker knows that one was taken out of log.dirs, with whatever
// logs were in it, or that one is new in the place of another. Until what is missing
// by that evidence is noted in the recovery points (NoteMissing, Settle) every start
// finds the same (docs/decisions/missing-logs.md).

// dirsFile is the name of that file.
const dirsFile = ".barnabas-log-dirs"

const (
	dirsVersion = 1
	maxDirsFile = 1 << 20
)

// dirsRecord is what dirsFile holds.
type dirsRecord struct {
	Version int      `json:"version"`
	Dirs    []string `json:"dirs"`
	// Settled: what is missing is named by the recovery points. If not, anything may
	// be.
	Settled bool `json:"settled"`
}

func decodeDirs(data []byte) (dirsRecord, error) {
	var r dirsRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return dirsRecord{}, err
	}
	if r.Version != dirsVersion {
		return dirsRecord{}, fmt.Errorf("version %d", r.Version)
	}
	return r, nil
}

// readDirs reads a directory's record; known is false if it has none. One that can't
// be read says that anything may be missing.
func (d *logDir) readDirs(m *Manager) (r dirsRecord, known bool, err error) {
	name := path.Join(d.path, dirsFile)
	data, err := vfs.ReadFile(m.o.FS, name, maxDirsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if r, err = decodeDirs(data); err != nil {
		m.o.Logger.Warn("list of log directories unreadable: a log that is not found counts as missing", "file", name, "err", err)
	}
	return r, true, nil
}

// writeDirs records which the log directories are. Where there is no room for it the
// file stays what it was.
func (d *logDir) writeDirs(m *Manager, settled bool) error {
	r := dirsRecord{Version: dirsVersion, Settled: settled}
	for _, other := range m.dirs {
		r.Dirs = append(r.Dirs, other.path)
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = vfs.WriteFileAtomic(m.o.FS, path.Join(d.path, dirsFile), append(data, '\n'))
	}
	if vfs.NoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return d.fail(m, err)
	}
	return nil
}

// dirsChanged tells whether logs may be in directories that this broker had and has
// no more: one of its directories is new, or was taken out of log.dirs, or that was
// so at an earlier start which could not note what is missing. Directories of which
// none has a record were Apache Kafka's, or an earlier version's.
func (m *Manager) dirsChanged() bool {
	have := map[string]bool{}
	for _, d := range m.dirs {
		have[d.path] = true
	}
	changed, some, all := false, false, true
	for _, d := range m.live() {
		r, known, err := d.readDirs(m)
		if err != nil {
			d.fail(m, err)
			continue
		}
		some, all = some || known, all && known
		changed = changed || !d.hasMeta || known && !r.Settled
		for _, dir := range r.Dirs {
			if !have[dir] {
				have[dir] = true // named once
				changed = true
				m.takenOut = append(m.takenOut, dir)
				m.o.Logger.Warn("a log directory was taken out of log.dirs: the logs that were in it count as missing where no other replica is in sync", "dir", dir)
			}
		}
		changed = changed || known && slices.ContainsFunc(m.dirs, func(o *logDir) bool { return !slices.Contains(r.Dirs, o.path) })
	}
	return changed || some && !all
}

// unsettle records, before a new directory looks like an old one, that what is missing
// is still to be found out.
func (m *Manager) unsettle(d *logDir) error {
	if !m.fresh {
		return nil
	}
	if err := d.writeDirs(m, false); err != nil && !errors.Is(err, ErrNoRoom) {
		return err
	}
	return nil
}

// Settle makes durable what NoteMissing noted, and that the directories are the ones
// that they are: from now on only logs that a checkpoint names are missing. The
// caller has noted all that are, by the present state of the cluster. While a
// directory is offline nothing is settled: nobody knows what is in it.
func (m *Manager) Settle() error {
	if len(m.live()) < len(m.dirs) {
		return fmt.Errorf("%w: what it holds is not known", errors.Join(m.failures()))
	}
	for _, d := range m.dirs {
		if err := d.saveRecoveryPoints(m); err != nil {
			return err
		}
	}
	for _, d := range m.dirs { // after all recovery points: any of them may have notes
		if r, known, err := d.readDirs(m); err == nil && known && r.Settled && !m.fresh {
			continue
		}
		if err := d.writeDirs(m, true); err != nil {
			return err
		}
	}
	return nil
}
