package log

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/index"
)

// Suffixes of the files of a segment, and of those on their way in or out.
const (
	logSuffix      = ".log"
	offsetSuffix   = ".index"
	timeSuffix     = ".timeindex"
	txnSuffix      = ".txnindex"
	snapshotSuffix = ".snapshot"
	deletedSuffix  = ".deleted"
	cleanedSuffix  = ".cleaned"
	swapSuffix     = ".swap"
	// cutSuffix marks what recovery cut off; nobody reads it but an operator.
	cutSuffix = ".cut"
	// tmpSuffix marks what is not whole yet; a start removes it.
	tmpSuffix = ".tmp"
)

// fileName is the name of a file of a segment: 20 digits and the suffix.
func fileName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// parseFileName splits a name into base offset and suffix; ok is false for names
// that do not begin with 20 digits and a dot.
func parseFileName(name string) (base int64, suffix string, ok bool) {
	if len(name) < 21 || name[20] != '.' {
		return 0, "", false
	}
	n, err := strconv.ParseUint(name[:20], 10, 63)
	if err != nil {
		return 0, "", false
	}
	return int64(n), name[20:], true
}

// A segment is one file of batches and its indexes.
type segment struct {
	base    int64
	fs      vfs.FS
	path    string // of the .log file
	file    *dataFile
	offsets *index.OffsetIndex
	times   *index.TimeIndex
	txns    *index.TxnIndex

	// size is the bytes of whole batches; the file may be longer after a failed
	// write, or preallocated.
	size atomic.Int64

	// refs is 1 for the log plus one for each reader. At 0 the files close; until
	// then file has no descriptor unless somebody pins it or the cache keeps it.
	refs atomic.Int64
	// release gives a reader's reference and pin back; made once, so that reads do
	// not allocate.
	release func()
	// waiting is set while a truncation waits for the readers to go; drained is
	// then signalled.
	waiting atomic.Bool
	drained chan struct{}

	// Guarded by Log.mu.
	firstTimestamp int64 // of the first batch, -1 if none or unknown
	created        time.Time
	jitter         time.Duration
	maxTimestamp   int64 // -1 if none
	maxTimeOffset  int64 // last offset of the batch that has maxTimestamp
	sinceIndex     int   // bytes since the last index entry
	ahead          reservation

	// Guarded by Log.maint.
	synced       int64 // bytes known to be synced
	sealed       bool  // inactive, indexes synced and sealed
	futureWarned bool
}

// openSegment opens the files of a segment; the .log is made if absent.
func openSegment(fs vfs.FS, dir string, base int64, o *Options, cache *fileCache) (*segment, error) {
	return openSegmentAs(fs, dir, base, "", o, cache)
}

// openSegmentAs opens the files of a segment whose names end in suffix.
func openSegmentAs(fs vfs.FS, dir string, base int64, suffix string, o *Options, cache *fileCache) (*segment, error) {
	s := &segment{
		base: base, fs: fs, path: path.Join(dir, fileName(base, logSuffix+suffix)),
		firstTimestamp: -1, maxTimestamp: -1, maxTimeOffset: base, created: time.Now(),
		drained: make(chan struct{}, 1),
	}
	s.refs.Store(1)
	s.release = func() {
		s.file.unpin()
		s.unref()
	}
	if j := min(o.SegmentJitter, o.SegmentAge); j > 0 {
		s.jitter = rand.N(j)
	}
	file, size, err := newDataFile(fs, s.path, cache)
	if err != nil {
		return nil, err
	}
	s.file = file
	if err := s.openIndexes(dir, suffix, o); err != nil {
		file.Close()
		return nil, err
	}
	s.size.Store(size)
	return s, nil
}

func (s *segment) openIndexes(dir, added string, o *Options) (err error) {
	io := func(suffix string) index.Options {
		return index.Options{FS: s.fs, Name: path.Join(dir, fileName(s.base, suffix+added)), BaseOffset: s.base, MaxBytes: o.IndexMaxBytes}
	}
	if s.offsets, err = index.OpenOffset(io(offsetSuffix)); err != nil {
		return err
	}
	if s.times, err = index.OpenTime(io(timeSuffix)); err != nil {
		return err
	}
	s.txns, err = index.OpenTxn(io(txnSuffix))
	return err
}

// ref takes a reference. The caller holds Log.mu or a reference.
func (s *segment) ref() { s.refs.Add(1) }

// unref gives a reference back.
func (s *segment) unref() {
	switch s.refs.Add(-1) {
	case 0:
		// Whatever had to be synced was before the log gave up its reference; the
		// readers' ends of these files have nothing left to lose.
		s.offsets.Close()
		s.times.Close()
		s.txns.Close()
		s.file.Close()
	case 1:
		if s.waiting.Load() {
			select {
			case s.drained <- struct{}{}:
			default:
			}
		}
	}
}

// drain waits until no reader has a reference, at most for the given time, and
// tells whether that is so. The caller has made sure that no new ones come.
func (s *segment) drain(atMost time.Duration) bool {
	s.waiting.Store(true)
	defer s.waiting.Store(false)
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for s.refs.Load() > 1 {
		select {
		case <-s.drained:
		case <-timer.C:
			return s.refs.Load() == 1
		}
	}
	return true
}

// noteTimes takes a batch's largest timestamp into account.
func (s *segment) noteTimes(maxTimestamp, lastOffset int64) {
	if s.firstTimestamp < 0 && s.size.Load() == 0 {
		s.firstTimestamp = maxTimestamp
	}
	if maxTimestamp > s.maxTimestamp {
		s.maxTimestamp, s.maxTimeOffset = maxTimestamp, lastOffset
	}
}

// indexAppend adds the index entries that bytes appended at position up to
// lastOffset are due: one at most per call, as log.LogSegment.append.
func (s *segment) indexAppend(lastOffset, position int64, bytes, interval int) error {
	if s.sinceIndex > interval {
		if err := s.offsets.Append(lastOffset, position); err != nil {
			return err
		}
		if s.maxTimestamp >= 0 {
			if err := s.times.Append(s.maxTimestamp, s.maxTimeOffset, false); err != nil {
				return err
			}
		}
		s.sinceIndex = 0
	}
	s.sinceIndex += bytes
	return nil
}

// finishTimes writes the last entry of the time index: the segment becomes
// inactive or closes.
func (s *segment) finishTimes() error {
	if s.maxTimestamp < 0 {
		return nil
	}
	return s.times.Append(s.maxTimestamp, s.maxTimeOffset, true)
}

// reservation keeps room on disk ahead of the end of an active segment, which
// makes appends two to three times cheaper. The steps follow the write rate, so
// that thousands of idle partitions reserve nothing.
type reservation struct {
	end  int64     // reserved up to here
	from int64     // size when it was made
	at   time.Time // and when
	off  bool      // a reservation failed: do without
}

const (
	minReservation = 64 << 10
	maxReservation = 16 << 20
	// reserveAfter is what a segment must hold before room is reserved.
	reserveAfter = 32 << 10
)

// reserve makes room for n bytes at the end, if it pays.
func (s *segment) reserve(n int, now time.Time, segmentBytes int64) {
	size := s.size.Load()
	r := &s.ahead
	if size+int64(n) <= r.end || r.off || size+int64(n) < reserveAfter {
		return
	}
	step := int64(minReservation)
	if elapsed := now.Sub(r.at); !r.at.IsZero() {
		// About a second's worth.
		rate := float64(size-r.from) / max(elapsed.Seconds(), 1e-3)
		step = int64(min(rate, maxReservation))
	}
	step = max(step&^4095, minReservation)
	end := max(min(size+step, segmentBytes), size+int64(n))
	if err := s.file.Preallocate(size, end-size); err != nil {
		// Only a hint failed; if the disk is full the write itself will tell.
		r.off = true
		return
	}
	*r = reservation{end: end, from: size, at: now}
}

// releaseReserved gives back the room beyond the end. No append may run.
func (s *segment) releaseReserved() error {
	if s.ahead.end == 0 {
		return nil
	}
	s.ahead = reservation{}
	return s.file.Truncate(s.size.Load())
}

// seal syncs a segment that gets no more appends, with its indexes, and gives
// back their memory. Apache Kafka takes a segment for damaged that has no offset
// index, be it an empty one; bare leaves it out where that costs most and says
// least, in the thousands of partitions that were never written to. The caller
// holds Log.maint.
func (s *segment) seal(bare bool) error {
	if s.sealed {
		return nil
	}
	if err := s.releaseReserved(); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	if !bare {
		if err := s.offsets.Create(); err != nil {
			return err
		}
	}
	for _, x := range []interface{ Sync() error }{s.offsets, s.times, s.txns} {
		if err := x.Sync(); err != nil {
			return err
		}
	}
	if err := s.sealIndexes(); err != nil {
		return err
	}
	s.sealed = true
	return nil
}

func (s *segment) sealIndexes() error {
	for _, x := range []interface{ Seal() error }{s.offsets, s.times, s.txns} {
		if err := x.Seal(); err != nil {
			return err
		}
	}
	return nil
}

// freezeIndexes writes nothing to the indexes any more, which have no room to need
// then: the segment goes. Its readers go on.
func (s *segment) freezeIndexes() error {
	for _, x := range []interface{ Freeze() error }{s.offsets, s.times, s.txns} {
		if err := x.Freeze(); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the batches durable. The caller holds Log.maint.
func (s *segment) sync() error {
	size := s.size.Load()
	if s.synced >= size {
		return nil
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.synced = size
	return nil
}

// renameTo moves the files of the segment to their names with a suffix added. Where
// it failed half-way it may be called again.
func (s *segment) renameTo(suffix string) error {
	name := func(kind string) string { return path.Join(path.Dir(s.path), fileName(s.base, kind+suffix)) }
	if err := s.file.rename(name(logSuffix)); err != nil {
		return err
	}
	s.path = name(logSuffix)
	if err := s.offsets.Rename(name(offsetSuffix)); err != nil {
		return err
	}
	if err := s.times.Rename(name(timeSuffix)); err != nil {
		return err
	}
	return s.txns.Rename(name(txnSuffix))
}

// remove unlinks the files. The log has given up its reference.
func (s *segment) remove() error {
	if err := removeIfExists(s.fs, s.path); err != nil {
		return err
	}
	for _, name := range []string{s.offsets.Name(), s.times.Name(), s.txns.Name()} {
		if err := removeIfExists(s.fs, name); err != nil {
			return err
		}
	}
	return nil
}
