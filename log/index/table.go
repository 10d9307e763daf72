package index

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"sync"

	"barnabas/internal/vfs"
)

// tailBytes is how much of the end of an active index is kept in memory: when
// there is more, all is written out and the older half dropped. Consumers near
// the end of the log look up without touching the file.
const tailBytes = 8 << 10

// table is a file of entries of one size, in ascending order, with its end in
// memory.
type table struct {
	fs        vfs.FS
	entrySize int
	max       int // entries that the file may hold

	// syncMu keeps the file open during a sync. It is taken before mu.
	syncMu sync.Mutex

	mu   sync.Mutex // guards all below; see the package comment
	name string
	// file is open for writing, or nil; nobody keeps it open for long.
	file vfs.File
	// count is the number of entries; the last len(tail)/entrySize of them are in
	// tail, the first written in the file.
	count   int
	written int
	tail    []byte
	// last is a copy of the last entry, nil if there is none.
	last []byte
	// excess tells that the file is longer than its entries: zeros of Kafka's, or
	// a part of an entry.
	excess bool
	// ragged tells that the file was no whole number of entries when opened.
	ragged bool
	// dirty tells that the file may have been written since its last sync, newName that it
	// was created since its directory's.
	dirty, newName bool
	exists         bool
	closed         bool
	// frozen: nothing is written any more; what only memory has stays there.
	frozen bool
}

// openTable reads how many entries a file has; no file is none. It keeps no
// descriptor.
func openTable(o Options, entrySize int) (*table, error) {
	maxBytes := o.MaxBytes
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	t := &table{fs: o.FS, name: o.Name, entrySize: entrySize, max: maxBytes / entrySize}
	f, err := t.fs.Open(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t.exists, t.dirty = true, true // an earlier process may not have synced it
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	t.ragged = size%int64(entrySize) != 0
	n, err := t.countNonZero(f, int(size/int64(entrySize)))
	if err != nil {
		return nil, err
	}
	t.count, t.written = n, n
	t.excess = int64(n*entrySize) != size
	if n > 0 {
		t.last = make([]byte, entrySize)
		if err := readFull(f, t.last, int64((n-1)*entrySize)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// countNonZero finds where the tail of zeros begins that Kafka's preallocation
// leaves after a crash: entries ascend, so none but possibly the first is zero.
func (t *table) countNonZero(f vfs.File, n int) (int, error) {
	entry := make([]byte, t.entrySize)
	var err error
	first := sort.Search(n, func(i int) bool {
		if err != nil {
			return true
		}
		err = readFull(f, entry, int64(i*t.entrySize))
		return err == nil && allZero(entry)
	})
	return first, err
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

func readFull(f vfs.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s at %d: %w", f.Name(), off, err)
}

var errClosed = fmt.Errorf("index: %w", fs.ErrClosed)

// appendLocked adds an entry that the caller has found to be in order.
func (t *table) appendLocked(entry []byte) error {
	if t.closed {
		return errClosed
	}
	if len(t.tail) >= tailBytes {
		err := t.writeOutLocked()
		if err != nil && !vfs.NoSpace(err) {
			return err
		}
		if err == nil {
			half := len(t.tail) / 2 / t.entrySize * t.entrySize
			t.tail = t.tail[:copy(t.tail, t.tail[half:])]
		}
		// A full disk: the entries stay here, at most max of them, until there is
		// room.
	}
	t.tail = append(t.tail, entry...)
	t.last = append(t.last[:0], entry...)
	t.count++
	return nil
}

// writeOutLocked is writeLocked without keeping a descriptor: one is needed for
// each 4 KiB of entries only, and a broker has very many indexes.
func (t *table) writeOutLocked() error {
	return errors.Join(t.writeLocked(), t.closeFileLocked())
}

// writeLocked writes out what only memory has, and trims the file.
func (t *table) writeLocked() error {
	if t.written == t.count && !t.excess || t.frozen {
		return nil
	}
	if err := t.openLocked(); err != nil {
		return err
	}
	t.dirty = true
	if n := (t.count - t.written) * t.entrySize; n > 0 {
		if _, err := t.file.WriteAt(t.tail[len(t.tail)-n:], int64(t.written*t.entrySize)); err != nil {
			t.excess = true // a part of it may be there
			return err
		}
		t.written = t.count
	}
	if t.excess {
		if err := t.file.Truncate(int64(t.written * t.entrySize)); err != nil {
			return err
		}
		t.excess = false
	}
	return nil
}

// create makes the file if it does not exist.
func (t *table) create() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	if t.exists {
		return nil
	}
	t.dirty = true
	return errors.Join(t.openLocked(), t.closeFileLocked())
}

// openLocked makes sure that the file is open for writing.
func (t *table) openLocked() error {
	if t.file != nil {
		return nil
	}
	f, err := t.fs.OpenReadWrite(t.name)
	if err != nil {
		return err
	}
	t.file = f
	if !t.exists {
		t.exists, t.newName = true, true
	}
	return nil
}

// truncate keeps the first n entries.
func (t *table) truncate(n int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	if n >= t.count {
		return nil
	}
	var last []byte
	if n > 0 {
		var err error
		if last, err = t.entryLocked(n - 1); err != nil {
			return err
		}
	}
	t.tail = t.tail[:max(0, n-t.tailBegin())*t.entrySize]
	t.count = n
	t.last = last
	if n < t.written {
		t.written, t.excess = n, true
	}
	return t.trimLocked()
}

// trimLocked writes out what was taken away, at once if there is room: entries for
// bytes that the segment no longer has should not come back. On a full disk the file
// is put right with the next write: the caller has lowered the recovery point, and
// after a crash the index is made anew.
func (t *table) trimLocked() error {
	if err := t.writeOutLocked(); !vfs.NoSpace(err) {
		return err
	}
	return nil
}

// reset drops all entries and the knowledge of damage.
func (t *table) reset() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	t.excess = t.excess || t.written > 0
	t.count, t.written, t.tail, t.last, t.ragged = 0, 0, nil, nil, false
	return t.trimLocked()
}

// sync makes all entries durable, and the file's name if it is new. The lock for
// readers is not held meanwhile.
func (t *table) sync() error {
	t.syncMu.Lock()
	defer t.syncMu.Unlock()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return errClosed
	}
	err := t.writeLocked()
	if err != nil || !t.dirty {
		t.mu.Unlock()
		return err
	}
	sealed := t.file == nil
	if err := t.openLocked(); err != nil {
		t.mu.Unlock()
		return err
	}
	f, newName, dir := t.file, t.newName, path.Dir(t.name)
	t.dirty, t.newName = false, false
	t.mu.Unlock()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%w: %w", vfs.ErrSync, err)
	}
	if newName {
		if err := t.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("%w: %w", vfs.ErrSync, err)
		}
	}
	if !sealed {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sealLocked()
}

// seal writes all out and lets go of descriptor and memory.
func (t *table) seal() error {
	t.syncMu.Lock()
	defer t.syncMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	return t.sealLocked()
}

func (t *table) sealLocked() error {
	if err := t.writeLocked(); err != nil {
		return err
	}
	if !t.frozen {
		t.tail = nil
	}
	return t.closeFileLocked()
}

// freeze lets go of the descriptor without writing anything, now or later: the file
// is about to be removed, or its name to be another's. Lookups go on.
func (t *table) freeze() error {
	t.syncMu.Lock()
	defer t.syncMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = true
	return t.closeFileLocked()
}

func (t *table) closeFileLocked() error {
	f := t.file
	if f == nil {
		return nil
	}
	t.file = nil
	return f.Close()
}

func (t *table) close() error {
	t.syncMu.Lock()
	defer t.syncMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	err := errors.Join(t.sealLocked(), t.closeFileLocked())
	t.closed = true
	return err
}

// rename moves the file; entries in memory only will follow.
func (t *table) rename(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exists && t.name != name {
		if err := t.fs.Rename(t.name, name); err != nil {
			return err
		}
	}
	t.name = name
	return nil
}

// moved tells the table that its file has another name now, because the
// directory was renamed.
func (t *table) moved(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.name = name
}

// remove closes without writing and removes the file, if there is one.
func (t *table) remove() error {
	t.syncMu.Lock()
	defer t.syncMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.tail = nil
	err := t.closeFileLocked()
	if rerr := t.fs.Remove(t.name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && err == nil {
		err = rerr
	}
	return err
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

func (t *table) path() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.name
}
