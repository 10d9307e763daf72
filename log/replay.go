package log

import (
	"errors"
	"io"
	"path"
	"time"

	"barnabas/log/checkpoint"
)

// loadProducers rebuilds the producers of a log whose segments are trusted.
func (l *Log) loadProducers(ld *loading) error {
	end := l.end.Load()
	if ld.clean && len(ld.snapshots) == 0 {
		// Written by a version that kept no snapshots: nothing to know, and no
		// reason to read the whole log (UnifiedLog.rebuildProducerState).
		l.producers = newProducers(&l.o, end)
		return nil
	}
	ps, err := l.producersAt(ld, end)
	l.producers = ps
	return err
}

// producersAt is the state of the producers before offset: the newest snapshot
// at or below it, and the batches since.
func (l *Log) producersAt(ld *loading, offset int64) (*producers, error) {
	start := max(l.o.StartOffset, l.start.Load(), l.segments[0].base)
	ps := newProducers(&l.o, min(start, offset))
	for i := len(ld.snapshots) - 1; i >= 0; i-- {
		at := ld.snapshots[i]
		if at > offset || at <= start && at != offset {
			continue
		}
		name := path.Join(l.o.Dir, fileName(at, snapshotSuffix))
		entries, err := checkpoint.ReadSnapshot(l.o.FS, name)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			l.logger.Warn("producer snapshot unreadable, the one before is taken", "err", err)
			if err := l.o.FS.Remove(name); err != nil {
				return ps, err
			}
			continue
		}
		if err != nil {
			return ps, err
		}
		ps.load(entries, at, time.Now())
		break
	}
	return ps, l.replay(ps, offset)
}

// replay applies the batches from ps.next up to offset, trusting them.
func (l *Log) replay(ps *producers, offset int64) error {
	for i := l.segmentIndexLocked(ps.next); i < len(l.segments) && ps.next < offset; i++ {
		s := l.segments[i]
		if s.base >= offset {
			break
		}
		if err := l.replaySegment(ps, s, offset); err != nil {
			return err
		}
	}
	ps.next = max(ps.next, offset)
	return nil
}

func (l *Log) replaySegment(ps *producers, s *segment, offset int64) error {
	sc := newScanner(s.file, 0, s.size.Load(), nil)
	if e, err := s.offsets.Lookup(ps.next); err == nil && e.Position < sc.end {
		sc.pos = e.Position
	}
	for {
		h, pos, err := sc.next()
		if err == io.EOF || isCorrupt(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.BaseOffset >= offset {
			return nil
		}
		if h.LastOffset() < ps.next || !h.HasProducer() {
			continue
		}
		var m *marker
		if h.Control() {
			b, err := sc.whole(&h, pos)
			if err != nil {
				return err
			}
			if m, err = readMarker(b); err != nil {
				l.logger.Warn("control batch not understood", "offset", h.BaseOffset, "err", err)
			}
		}
		ps.apply(&h, m)
	}
}
