package log

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"barnabas/internal/vfs"
)

// Flush makes everything appended before the call durable: batches, the indexes
// of complete segments, snapshots and names. Appends go on meanwhile.
func (l *Log) Flush() error {
	if err := l.offline.get(); err != nil {
		return err
	}
	l.maint.Lock()
	defer l.maint.Unlock()
	return l.flush()
}

// commit is the queue of appends that want to be durable: one of them flushes,
// the others wait; when it is done, one of those that it did not cover goes on.
type commit struct {
	mu       sync.Mutex // guards following
	flushing bool
	done     sync.Cond // a flush has ended; its L is mu
}

// flushTo makes everything below offset durable. A sync costs the same for one
// append as for a hundred, so those who come while one runs share the next (group
// commit).
func (l *Log) flushTo(offset int64) error {
	c := &l.commit
	c.mu.Lock()
	for c.flushing && l.recoveryPoint.Load() < offset {
		c.done.Wait()
	}
	if l.recoveryPoint.Load() >= offset {
		c.mu.Unlock()
		return nil
	}
	c.flushing = true
	c.mu.Unlock()
	err := l.Flush()
	c.mu.Lock()
	c.flushing = false
	c.mu.Unlock()
	c.done.Broadcast()
	return err
}

// flush is Flush with maint held.
func (l *Log) flush() error {
	l.mu.Lock()
	err := l.usableLocked()
	if err == nil && l.idUnsynced {
		err = l.syncIDLocked()
	}
	if err == nil {
		err = l.saveEpochsLocked()
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}
	end := l.end.Load()
	segments := append([]*segment(nil), l.segments[l.segmentIndexLocked(l.recoveryPoint.Load()):]...)
	names := l.namesUnsynced
	l.namesUnsynced = false
	l.unflushed = 0
	l.mu.Unlock()
	began := time.Now()
	if err := l.syncFiles(segments, names); err != nil {
		if names && errors.Is(err, ErrNoRoom) {
			l.mu.Lock()
			l.namesUnsynced = true
			l.mu.Unlock()
		}
		return err
	}
	// No truncation can have come between: it holds maint too.
	l.recoveryPoint.Store(max(l.recoveryPoint.Load(), end))
	now := time.Now()
	l.mu.Lock()
	l.flushed = now
	l.mu.Unlock()
	if l.o.OnFlush != nil {
		l.o.OnFlush(now.Sub(began))
	}
	return nil
}

// saveEpochsLocked writes the leader epochs that the flush covers. On a full disk
// they wait for the next one.
func (l *Log) saveEpochsLocked() error {
	l.writing.start(l.o.clock)
	defer l.writing.stop()
	if err := l.epochs.saveAgain(); !vfs.NoSpace(err) {
		return l.failIf(err)
	}
	return nil
}

// syncFiles syncs segments, all of them but the last complete, and the names. On
// a full disk the indexes of complete ones may not find room: ErrNoRoom.
func (l *Log) syncFiles(segments []*segment, names bool) error {
	defer l.syncing.stop()
	for i, s := range segments {
		l.syncing.start(l.o.clock)
		if i == len(segments)-1 {
			if err := s.sync(); err != nil {
				return l.failIf(err)
			}
			break
		}
		if err := l.sealSegment(s, segments[i+1].base); err != nil {
			return l.failUnlessFull(err)
		}
	}
	if !names {
		return nil
	}
	l.syncing.start(l.o.clock)
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.failIf(err)
	}
	return l.failIf(l.o.births.sync(l.o.FS, path.Dir(l.o.Dir)))
}

// sealSegment syncs a complete segment and the snapshot at its end.
func (l *Log) sealSegment(s *segment, next int64) error {
	if s.sealed {
		return nil
	}
	if err := s.seal(false); err != nil {
		return err
	}
	return l.syncSnapshot(next)
}

// syncSnapshot makes the snapshot at offset durable, if there is one.
func (l *Log) syncSnapshot(offset int64) error {
	name := path.Join(l.o.Dir, fileName(offset, snapshotSuffix))
	if ok, err := exists(l.o.FS, name); err != nil || !ok {
		return err
	}
	f, err := l.o.FS.OpenReadWrite(name)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("%w: %w", vfs.ErrSync, err)
	}
	return f.Close()
}

// flushDue tells whether unflushed records are older than the topic allows.
func (l *Log) flushDue(now time.Time) bool {
	every := l.opts.Load().FlushInterval
	if every <= 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unflushed > 0 && now.Sub(l.flushed) >= every
}

// Close flushes, writes the last index entries and a producer snapshot, and
// closes the files; readers keep theirs until they are done. After it the log
// can be opened as clean. A log that is offline is only closed.
func (l *Log) Close() error {
	l.maint.Lock()
	defer l.maint.Unlock()
	err := l.finish()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.letGoLocked()
	return err
}

// closeIfRoom is Close, but where there is no room to leave the files as they should
// be the log stays open.
func (l *Log) closeIfRoom() error {
	l.maint.Lock()
	defer l.maint.Unlock()
	if err := l.finish(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.active().sealed = false
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.letGoLocked()
	return nil
}

// finish leaves the files as a clean shutdown should.
func (l *Log) finish() error {
	if err := l.flush(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Appends between the flush and here: none, or the owner of the log closes it
	// too early; they are synced below all the same.
	s := l.active()
	if err := s.finishTimes(); err != nil {
		return l.failUnlessFull(err)
	}
	s.sealed = false
	if err := s.seal(len(l.segments) == 1 && s.size.Load() == 0); err != nil {
		return l.failUnlessFull(err)
	}
	if err := l.epochs.saveAgain(); err != nil {
		return l.failUnlessFull(err)
	}
	if end := l.end.Load(); end > l.start.Load() {
		l.producers.next = max(l.producers.next, end)
		if err := l.takeSnapshotLocked(end, true); err != nil {
			return l.failUnlessFull(err)
		}
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.failIf(err)
	}
	l.recoveryPoint.Store(l.end.Load())
	return nil
}

// Abandon closes the log without making anything durable: its directory is about
// to be deleted. Readers keep their files until they are done.
func (l *Log) Abandon() error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var first error
	for _, s := range l.segments {
		// The last reader may go when another log has this directory's name: nothing is
		// written by then.
		if err := s.sealIndexes(); err != nil && !vfs.NoSpace(err) && first == nil {
			first = err
		}
		if err := s.freezeIndexes(); err != nil && first == nil {
			first = err
		}
	}
	l.letGoLocked()
	return l.failIf(first)
}

// letGoLocked gives up all segments. Their readers go on with what they have open;
// the names may soon be another log's.
func (l *Log) letGoLocked() {
	for _, s := range l.segments {
		s.file.retire()
		s.unref()
	}
	for _, t := range l.trash {
		t.segment.file.retire()
		t.segment.unref()
	}
	l.trash = nil
}
