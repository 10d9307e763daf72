package log

import (
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
)

// TimeOffset is a record found by time.
type TimeOffset struct {
	Offset, Timestamp int64
	// Epoch is that of the batch, -1 in old formats.
	Epoch kafka.LeaderEpoch
}

// timed is a segment, with a reference, and its largest timestamp.
type timed struct {
	s             *segment
	size          int64
	maxTimestamp  int64
	maxTimeOffset int64
}

// timedSegments returns all segments with references.
func (l *Log) timedSegments() ([]timed, error) {
	if err := l.offline.get(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return nil, err
	}
	if l.changing {
		return nil, nil
	}
	out := make([]timed, len(l.segments))
	for i, s := range l.segments {
		s.ref()
		out[i] = timed{s: s, size: s.size.Load(), maxTimestamp: s.maxTimestamp, maxTimeOffset: s.maxTimeOffset}
	}
	return out, nil
}

func releaseTimed(segments []timed) {
	for _, t := range segments {
		t.s.unref()
	}
}

// OffsetForTime finds the first record below upTo, and not below the log start
// offset, with a timestamp ≥ ts (milliseconds).
func (l *Log) OffsetForTime(ts, upTo int64) (t TimeOffset, found bool, err error) {
	for again := true; again; {
		t, found, again, err = l.offsetForTime(ts, upTo)
	}
	return t, found, err
}

// offsetForTime is OffsetForTime; again tells that a segment went meanwhile.
func (l *Log) offsetForTime(ts, upTo int64) (t TimeOffset, found, again bool, err error) {
	segments, err := l.timedSegments()
	if err != nil {
		return TimeOffset{}, false, false, err
	}
	defer releaseTimed(segments)
	start := l.start.Load()
	for i := range segments {
		if segments[i].maxTimestamp < ts {
			continue
		}
		t, found, err = l.searchTime(&segments[i], ts, start)
		if err != nil && segments[i].s.gone(err) {
			return TimeOffset{}, false, true, nil
		}
		if err != nil {
			return TimeOffset{}, false, false, l.readError(err)
		}
		if found {
			return t, t.Offset < upTo, false, nil
		}
	}
	return TimeOffset{}, false, false, nil
}

// searchTime looks for the first record at or after ts and start in a segment.
func (l *Log) searchTime(t *timed, ts, start int64) (TimeOffset, bool, error) {
	entry, err := t.s.times.Lookup(ts)
	if err != nil {
		return TimeOffset{}, false, err
	}
	place, err := t.s.offsets.Lookup(max(entry.Offset, start))
	if err != nil {
		return TimeOffset{}, false, err
	}
	buf := l.buffer()
	defer l.buffers.Put(buf)
	sc := newScanner(t.s.file, place.Position, t.size, *buf)
	for {
		h, pos, err := sc.next()
		if errors.Is(err, io.EOF) {
			return TimeOffset{}, false, nil
		}
		if err != nil {
			return TimeOffset{}, false, err
		}
		if h.MaxTimestamp < ts || h.LastOffset() < start {
			continue
		}
		b, err := sc.whole(&h, pos)
		if err != nil {
			return TimeOffset{}, false, err
		}
		if r, ok := l.firstRecord(&h, b, ts, start); ok {
			return r, true, nil
		}
	}
}

// firstRecord finds the first record of a batch at or after ts and start. A batch
// that can't be opened is skipped and named: it must not stop who reads by time.
func (l *Log) firstRecord(h *batch.Header, b []byte, ts, start int64) (TimeOffset, bool) {
	for r, err := range batch.Records(b, l.o.Codecs) {
		if err != nil {
			l.logger.Warn("batch skipped in a search by time", "offset", h.BaseOffset, "err", err)
			return TimeOffset{}, false
		}
		if r.Timestamp >= ts && r.Offset >= start {
			epoch := kafka.LeaderEpoch(h.LeaderEpoch)
			return TimeOffset{Offset: r.Offset, Timestamp: r.Timestamp, Epoch: epoch}, true
		}
	}
	return TimeOffset{}, false
}

// MaxTimestampOffset finds the first record with the largest timestamp (KIP-734).
func (l *Log) MaxTimestampOffset() (t TimeOffset, found bool, err error) {
	for again := true; again; {
		t, found, again, err = l.maxTimestampOffset()
	}
	return t, found, err
}

// maxTimestampOffset is MaxTimestampOffset; again tells that a segment went
// meanwhile.
func (l *Log) maxTimestampOffset() (t TimeOffset, found, again bool, err error) {
	segments, err := l.timedSegments()
	if err != nil || len(segments) == 0 {
		return TimeOffset{}, false, false, err
	}
	defer releaseTimed(segments)
	best := &segments[0]
	for i := range segments {
		if segments[i].maxTimestamp > best.maxTimestamp {
			best = &segments[i]
		}
	}
	if best.maxTimestamp < 0 {
		return TimeOffset{}, false, false, nil
	}
	t, found, err = l.searchTime(best, best.maxTimestamp, l.start.Load())
	if err != nil && best.s.gone(err) {
		return TimeOffset{}, false, true, nil
	}
	if err != nil {
		return TimeOffset{}, false, false, l.readError(err)
	}
	return t, found, false, nil
}

// Timestamps that ListOffsets gives a meaning.
const (
	latestTimestamp   = -1
	earliestTimestamp = -2
)

// LegacyOffsetsBefore answers ListOffsets v0: base offsets of segments that were
// last written at or before ts (milliseconds), newest first, at most maxOffsets. ts is
// -1 for latest, -2 for earliest.
func (l *Log) LegacyOffsetsBefore(ts int64, maxOffsets int) ([]int64, error) {
	segments, err := l.timedSegments()
	if err != nil {
		return nil, err
	}
	defer releaseTimed(segments)
	hw := l.highWatermark.Load()
	type point struct{ offset, written int64 }
	var points []point
	for _, s := range segments {
		modified, err := s.s.file.ModTime()
		if err != nil && s.s.gone(err) {
			continue // retention was faster
		}
		if err != nil {
			return nil, l.readError(err)
		}
		points = append(points, point{max(s.s.base, l.start.Load()), modified.UnixMilli()})
	}
	if n := len(segments); n > 0 && segments[n-1].size > 0 {
		points = append(points, point{math.MaxInt64, time.Now().UnixMilli()})
	}
	last := len(points) - 1
	switch ts {
	case latestTimestamp:
	case earliestTimestamp:
		last = min(last, 0)
	default:
		for last >= 0 && points[last].written > ts {
			last--
		}
	}
	out := []int64{}
	for _, p := range slices.Backward(points[:last+1]) {
		// Nothing above the high watermark is told; it stands for what is.
		if offset := min(p.offset, hw); len(out) < maxOffsets && (len(out) == 0 || offset < out[len(out)-1]) {
			out = append(out, offset)
		}
	}
	return out, nil
}
