package log

import (
	"errors"
	"fmt"

	"barnabas/internal/vfs"
)

// cutAt removes what is bad: the ith segment from position on, and the segments
// after it. What is cut is kept aside in files that nobody reads.
func (l *Log) cutAt(i int, position int64) error {
	s := l.segments[i]
	size := s.size.Load()
	l.logger.Warn("log cut at a bad batch", "segment", s.path, "position", position, "bytes", size-position,
		"segments_dropped", len(l.segments)-i-1, "end", l.end.Load())
	switch err := l.keepAside(s, position); {
	case vfs.NoSpace(err):
		// A start on a full disk is worth more than bytes that nobody could read.
		l.logger.Warn("no room to keep aside what is cut", "segment", s.path, "position", position, "err", err)
	case err != nil:
		return err
	}
	if err := s.file.Truncate(position); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.size.Store(position)
	for _, later := range l.segments[i+1:] {
		later.unref()
		if err := l.o.FS.Rename(later.path, later.path+cutSuffix); err != nil {
			return err
		}
		if err := later.remove(); err != nil {
			return err
		}
	}
	l.segments = l.segments[:i+1]
	if err := l.removeSnapshots(func(o int64) bool { return o > l.end.Load() }); err != nil {
		return err
	}
	return l.o.FS.SyncDir(l.o.Dir)
}

// keepAside copies the file from position on, unless there are only zeros.
func (l *Log) keepAside(s *segment, position int64) error {
	name := fmt.Sprintf("%s.%d%s", s.path, position, cutSuffix)
	buf := make([]byte, 256<<10)
	out, err := l.o.FS.Create(name)
	if err != nil {
		return err
	}
	any := false
	for at := position; at < s.size.Load(); {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), s.size.Load()-at)], at)
		if n == 0 {
			// What can't be read can't be kept; the cut itself does not need it.
			l.logger.Warn("cut part not readable", "segment", s.path, "position", at, "err", err)
			break
		}
		any = any || !allZero(buf[:n])
		if _, err := out.WriteAt(buf[:n], at-position); err != nil {
			return errors.Join(err, out.Close())
		}
		at += int64(n)
	}
	if err := out.Close(); err != nil {
		return err
	}
	if !any {
		return l.o.FS.Remove(name)
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
