package log

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/vfs"
)

// errRetired: the file of a segment that is no longer in the log, and was not
// open when it went. Who meets it looks the segment up anew.
var errRetired = errors.New("log: segment gone")

// closedPins is what pins is lowered by while the file has no descriptor.
const closedPins = -1 << 40

// A dataFile is the .log file of a segment: a vfs.File whose descriptor comes when
// it is needed and goes, by the cache's choice, when nobody uses it and all that
// was written through it is synced. So the errors of a writeback, which the system
// tells to descriptors, are not missed.
//
// Each operation pins the descriptor; who wants the bare vfs.File pins it himself
// and unpins it later. States: open (pins ≥ 0: its users), closed (pins =
// closedPins plus those who are about to open it), retired (closed and not to be
// opened again: another file may have the name).
type dataFile struct {
	fs    vfs.FS
	cache *fileCache

	pins atomic.Int64
	// file may be used by who has it pinned.
	file  vfs.File
	dirty atomic.Bool // written since the last sync began
	used  atomic.Bool // since the cache's hand passed

	mu      sync.Mutex // guards following, and opening, closing, renaming
	name    string
	retired bool

	slot int // place in the cache, -1 if none; guarded by cache.mu
}

// newDataFile opens a file, or makes it, and returns its size. One that exists
// gets its descriptor later.
func newDataFile(fsys vfs.FS, name string, cache *fileCache) (*dataFile, int64, error) {
	f := &dataFile{fs: fsys, name: name, cache: cache, slot: -1}
	f.pins.Store(closedPins)
	st, err := fsys.Stat(name)
	if err == nil {
		return f, st.Size(), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	f.file, err = fsys.OpenReadWrite(name)
	if err != nil {
		return nil, 0, err
	}
	f.pins.Store(0)
	cache.opened(f)
	return f, 0, nil
}

// pin returns the open file, which stays so until unpin.
func (f *dataFile) pin() (vfs.File, error) {
	if !f.used.Load() {
		f.used.Store(true)
	}
	if f.pins.Add(1) > 0 {
		return f.file, nil
	}
	if err := f.open(); err != nil {
		f.pins.Add(-1)
		return nil, err
	}
	return f.file, nil
}

func (f *dataFile) unpin() { f.pins.Add(-1) }

// open opens the file for who has just pinned it.
func (f *dataFile) open() error {
	f.mu.Lock()
	if f.pins.Load() > 0 {
		f.mu.Unlock()
		return nil // another was first
	}
	if f.retired {
		f.mu.Unlock()
		return errRetired
	}
	// It exists: to open it for writing must not make it.
	_, err := f.fs.Stat(f.name)
	if err == nil {
		f.file, err = f.fs.OpenReadWrite(f.name)
	}
	if err == nil {
		f.pins.Add(-closedPins)
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.cache.opened(f)
	return nil
}

// evict gives the descriptor to the caller to close, if nobody needs it.
func (f *dataFile) evict() vfs.File {
	if f.dirty.Load() || !f.mu.TryLock() {
		return nil
	}
	defer f.mu.Unlock()
	if !f.pins.CompareAndSwap(0, closedPins) {
		return nil
	}
	if f.dirty.Load() {
		f.pins.Add(-closedPins)
		return nil
	}
	file := f.file
	f.file = nil
	return file
}

// retire makes sure that the name is not opened again. Present users go on.
func (f *dataFile) retire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retired = true
}

// rename moves the file.
func (f *dataFile) rename(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.name == name {
		return nil
	}
	if err := f.fs.Rename(f.name, name); err != nil {
		return err
	}
	f.name = name
	return nil
}

// replaceBy gives the file's name to another file, and retires this one: what is open
// of it goes on, and nobody opens the other by mistake.
func (f *dataFile) replaceBy(other string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fs.Rename(other, f.name); err != nil {
		return err
	}
	f.retired = true
	return nil
}

// Close closes for good. Nobody may have it pinned.
func (f *dataFile) Close() error {
	f.cache.forget(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retired = true
	if !f.pins.CompareAndSwap(0, closedPins) {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// Name implements vfs.File.
func (f *dataFile) Name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.name
}

// ReadAt implements vfs.File.
func (f *dataFile) ReadAt(p []byte, off int64) (int, error) {
	file, err := f.pin()
	if err != nil {
		return 0, err
	}
	defer f.unpin()
	return file.ReadAt(p, off)
}

// WriteAt implements vfs.File.
func (f *dataFile) WriteAt(p []byte, off int64) (int, error) {
	file, err := f.pin()
	if err != nil {
		return 0, err
	}
	defer f.unpin()
	f.dirty.Store(true)
	return file.WriteAt(p, off)
}

// Size implements vfs.File.
func (f *dataFile) Size() (int64, error) {
	file, err := f.pin()
	if err != nil {
		return 0, err
	}
	defer f.unpin()
	return file.Size()
}

// ModTime implements vfs.File. It needs no descriptor.
func (f *dataFile) ModTime() (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retired {
		return time.Time{}, errRetired
	}
	st, err := f.fs.Stat(f.name)
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}

// Truncate implements vfs.File.
func (f *dataFile) Truncate(size int64) error {
	file, err := f.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	f.dirty.Store(true)
	return file.Truncate(size)
}

// Preallocate implements vfs.File.
func (f *dataFile) Preallocate(off, length int64) error {
	file, err := f.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	return file.Preallocate(off, length)
}

// Sync implements vfs.File.
func (f *dataFile) Sync() error {
	file, err := f.pin()
	if err != nil {
		return err
	}
	defer f.unpin()
	f.dirty.Store(false)
	if err := file.Sync(); err != nil {
		f.dirty.Store(true)
		return fmt.Errorf("%w: %w", vfs.ErrSync, err)
	}
	return nil
}

// fileCache bounds how many descriptors the segments of a broker have: where there
// are more, those go that were not used for longest (roughly: a clock's hand
// passes over all, and takes those not used since it last came by).
type fileCache struct {
	limit int // 0: no bound

	mu    sync.Mutex // guards following; held over no file operation
	files []*dataFile
	hand  int
}

// sweepSteps is how many files the hand looks at for one that is opened, so that a
// cache full of files in use costs little.
const sweepSteps = 64

// opened notes a file that has just got a descriptor.
func (c *fileCache) opened(f *dataFile) {
	c.mu.Lock()
	if f.slot < 0 {
		f.slot = len(c.files)
		c.files = append(c.files, f)
	}
	victims := c.sweepLocked(sweepSteps, f)
	c.mu.Unlock()
	closeAll(victims)
}

// trim closes what is over the bound.
func (c *fileCache) trim() {
	c.mu.Lock()
	victims := c.sweepLocked(2*len(c.files), nil)
	c.mu.Unlock()
	closeAll(victims)
}

// closeAll closes synced files: there is nothing that their closing could lose.
func closeAll(files []vfs.File) {
	for _, f := range files {
		f.Close()
	}
}

func (c *fileCache) sweepLocked(steps int, but *dataFile) (victims []vfs.File) {
	for ; c.limit > 0 && len(c.files) > c.limit && steps > 0; steps-- {
		if c.hand >= len(c.files) {
			c.hand = 0
		}
		f := c.files[c.hand]
		if f == but || f.used.Swap(false) {
			c.hand++
			continue
		}
		file := f.evict()
		if file == nil {
			c.hand++
			continue
		}
		c.removeLocked(f)
		victims = append(victims, file)
	}
	return victims
}

func (c *fileCache) removeLocked(f *dataFile) {
	last := c.files[len(c.files)-1]
	c.files[f.slot], last.slot = last, f.slot
	c.files = c.files[:len(c.files)-1]
	f.slot = -1
}

func (c *fileCache) forget(f *dataFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.slot >= 0 {
		c.removeLocked(f)
	}
}

// count is how many descriptors are open.
func (c *fileCache) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.files)
}

// gone tells whether err came of the segment's leaving the log under a reader:
// its files may be removed by then.
func (s *segment) gone(err error) bool {
	if errors.Is(err, errRetired) {
		return true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return s.file.retired
}
