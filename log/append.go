package log

import (
	"errors"
	"fmt"
	"math"
	"path"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
)

// Origin says who made the batches that are appended.
type Origin int8

const (
	// Client batches are validated as the topic asks, and checked for duplicates.
	Client Origin = iota
	// Coordinator batches (groups, transactions, markers) are the broker's own.
	Coordinator
	// Replication batches come from a leader and are trusted but for their CRC.
	Replication
)

// AppendInfo tells what an append did.
type AppendInfo struct {
	// FirstOffset and LastOffset are those of the records appended, or of the
	// ones that a duplicate repeats.
	FirstOffset, LastOffset int64
	// MaxTimestamp is the largest timestamp, in milliseconds.
	MaxTimestamp int64
	// LogAppendTime is the time that the log gave the records, -1 if they keep
	// their own; for a duplicate the stored batch's largest timestamp.
	LogAppendTime int64
	// LogStartOffset at the time of the append.
	LogStartOffset int64
	// Duplicate says that nothing was written.
	Duplicate bool
	// Bytes and Records count what was written.
	Bytes, Records int
	// EndOffset is the log end offset after the append.
	EndOffset int64
}

// AppendAsLeader appends recs, whole batches of magic 2, giving them the next
// offsets and epoch in place. A client sends exactly one; a part of a second one
// is ignored. A client's message set of format 0 or 1 is made into a batch first.
// recs are changed but not kept.
func (l *Log) AppendAsLeader(recs []byte, epoch kafka.LeaderEpoch, origin Origin) (AppendInfo, error) {
	return l.appendAsLeader(recs, epoch, origin, 0)
}

// AppendVerified is AppendAsLeader of a client's batch with a guard.
func (l *Log) AppendVerified(recs []byte, epoch kafka.LeaderEpoch, g Guard) (AppendInfo, error) {
	return l.appendAsLeader(recs, epoch, Client, g)
}

// appending is what one append call has found out about its batches.
type appending struct {
	info   AppendInfo
	origin Origin
	guard  Guard
	now    time.Time
	// Of the first batch, and marker if it is a control batch.
	first  batch.Header
	marker *marker
}

func (l *Log) appendAsLeader(recs []byte, epoch kafka.LeaderEpoch, origin Origin, guard Guard) (AppendInfo, error) {
	if origin == Client && l.o.room.low.Load() {
		return AppendInfo{}, fmt.Errorf("%w: %s", ErrNoRoom, path.Dir(l.o.Dir))
	}
	a := appending{origin: origin, guard: guard, now: time.Now()}
	recs, err := l.prepare(recs, &a)
	if err != nil {
		return AppendInfo{}, err
	}
	if err := l.lockForAppend(); err != nil {
		return AppendInfo{}, err
	}
	err = l.leaderLocked(recs, epoch, &a)
	due := l.flushDueLocked()
	l.mu.Unlock()
	if err != nil {
		return AppendInfo{}, err
	}
	if due {
		err = l.flushTo(a.info.EndOffset)
	}
	return a.info, err
}

// lockForAppend takes mu when no truncation is under way.
func (l *Log) lockForAppend() error {
	if err := l.offline.get(); err != nil {
		return err
	}
	l.mu.Lock()
	for l.changing {
		l.changed.Wait()
	}
	err := l.usableLocked()
	if err == nil && l.idUnsynced {
		err = l.syncIDLocked()
	}
	if err != nil {
		l.mu.Unlock()
	}
	return err
}

func (l *Log) flushDueLocked() bool {
	n := l.opts.Load().FlushMessages
	return n > 0 && l.unflushed >= n
}

// prepare does what needs no lock: it validates and, if the topic wants another
// codec, compresses anew. It returns the bytes to append.
func (l *Log) prepare(recs []byte, a *appending) ([]byte, error) {
	if a.origin == Client && batch.IsLegacy(recs) {
		var err error
		if recs, err = l.upgrade(recs); err != nil {
			return nil, err
		}
	}
	h, b, rest, err := batch.Next(recs)
	if errors.Is(err, batch.ErrShort) {
		return nil, fmt.Errorf("%w: no whole batch", batch.ErrInvalidRecord)
	}
	if err != nil {
		return nil, err
	}
	a.info.LogAppendTime = -1
	if a.origin == Client {
		if _, _, _, err := batch.Next(rest); err == nil {
			return nil, fmt.Errorf("%w: more than one batch", batch.ErrInvalidRecord)
		}
		if b, err = l.validate(b, &h, a); err != nil {
			return nil, err
		}
		recs = b
	}
	a.first = h
	if h.Control() {
		a.marker, err = readMarker(b)
	}
	return recs, err
}

// leaderLocked places the batches and writes them.
func (l *Log) leaderLocked(recs []byte, epoch kafka.LeaderEpoch, a *appending) error {
	next := l.end.Load()
	dup, err := l.producers.check(&a.first, a.marker, a.origin, a.guard)
	if err != nil {
		return err
	}
	a.info.LogStartOffset, a.info.EndOffset = l.start.Load(), next
	if dup != nil {
		a.info.Duplicate = true
		a.info.FirstOffset, a.info.LastOffset = dup.lastOffset-int64(dup.delta), dup.lastOffset
		a.info.MaxTimestamp, a.info.LogAppendTime = dup.timestamp, dup.timestamp
		return nil
	}
	whole := 0
	for rest := recs; len(rest) > 0; {
		h, b, more, err := batch.Next(rest)
		if err != nil {
			return err
		}
		if h.Magic != 2 {
			return fmt.Errorf("%w: magic %d", batch.ErrInvalidRecord, h.Magic)
		}
		if whole > 0 {
			if err := l.checkLater(&h, b); err != nil {
				return err
			}
		}
		if next > math.MaxInt64-int64(h.LastOffsetDelta)-1 {
			return fmt.Errorf("%w: offsets are used up", batch.ErrInvalidRecord)
		}
		batch.SetOffset(b, next)
		batch.SetLeaderEpoch(b, int32(epoch))
		next += int64(h.LastOffsetDelta) + 1
		whole += h.Size()
		rest = more
	}
	return l.writeLocked(recs[:whole], a)
}

// checkLater judges the second and later batches of a coordinator's append.
func (l *Log) checkLater(h *batch.Header, b []byte) error {
	var m *marker
	if h.Control() {
		var err error
		if m, err = readMarker(b); err != nil {
			return err
		}
	}
	_, err := l.producers.check(h, m, Coordinator, 0)
	return err
}

// AppendAsFollower appends batches that a leader has placed. A part of a batch
// at the end is ignored. They must begin at the end of the log or above, or the
// error is ErrNonMonotonic; only an empty log whose start lies inside the first
// batch begins anew at that batch. CRCs are checked.
func (l *Log) AppendAsFollower(recs []byte) (AppendInfo, error) {
	a := appending{origin: Replication, now: time.Now()}
	a.info.LogAppendTime = -1
	whole, err := checkReplicated(recs)
	if err != nil {
		return AppendInfo{}, err
	}
	recs = recs[:whole]
	if whole == 0 {
		return AppendInfo{FirstOffset: -1, LastOffset: -1, LogAppendTime: -1, LogStartOffset: l.StartOffset(), EndOffset: l.EndOffset()}, nil
	}
	if err := l.restartInside(recs); err != nil {
		return AppendInfo{}, err
	}
	if err := l.lockForAppend(); err != nil {
		return AppendInfo{}, err
	}
	err = l.followerLocked(recs, &a)
	due := l.flushDueLocked()
	l.mu.Unlock()
	if err != nil {
		return AppendInfo{}, err
	}
	if due {
		err = l.flushTo(a.info.EndOffset)
	}
	return a.info, err
}

// checkReplicated checks CRCs and the order of offsets, and returns how many
// bytes are whole batches.
func checkReplicated(recs []byte) (whole int, err error) {
	next := int64(0)
	for rest := recs; ; {
		h, b, more, err := batch.Next(rest)
		if errors.Is(err, batch.ErrShort) {
			return whole, nil
		}
		if err != nil {
			return 0, err
		}
		if !batch.CheckCRC(b) {
			return 0, fmt.Errorf("%w: CRC of the batch at offset %d", batch.ErrCorrupt, h.BaseOffset)
		}
		if h.BaseOffset < next {
			return 0, fmt.Errorf("%w: %d after %d", ErrNonMonotonic, h.BaseOffset, next)
		}
		next = h.NextOffset()
		whole += h.Size()
		rest = more
	}
}

// restartInside handles a log that is empty because records were deleted up to
// the middle of a batch: it begins anew at that batch's base offset, keeping its
// log start offset.
func (l *Log) restartInside(recs []byte) error {
	h, _, _, err := batch.Next(recs)
	if err != nil {
		return err
	}
	end := l.end.Load()
	if h.BaseOffset >= end || h.LastOffset() < end || l.start.Load() != end {
		return nil
	}
	return l.restartAt(h.BaseOffset, end)
}

// followerLocked writes replicated batches, in several pieces where they do not
// fit one segment.
func (l *Log) followerLocked(recs []byte, a *appending) error {
	h, _, _, err := batch.Next(recs)
	if err != nil {
		return err
	}
	if end := l.end.Load(); h.BaseOffset < end {
		return fmt.Errorf("%w: %s ends at %d, the batch begins at %d", ErrNonMonotonic, l.tp, end, h.BaseOffset)
	}
	segmentBytes := l.opts.Load().SegmentBytes
	first, bytes, records := h.BaseOffset, 0, 0
	for len(recs) > 0 {
		n := 0
		for n < len(recs) {
			h, _, _, err := batch.Next(recs[n:])
			if err != nil {
				return err
			}
			if n > 0 && int64(n+h.Size()) > segmentBytes {
				break
			}
			n += h.Size()
		}
		if err := l.writeLocked(recs[:n], a); err != nil {
			return err
		}
		bytes, records = bytes+a.info.Bytes, records+a.info.Records
		recs = recs[n:]
	}
	a.info.FirstOffset, a.info.Bytes, a.info.Records = first, bytes, records
	return nil
}

// writeLocked rolls if that is due, writes recs (whole, placed batches) with one
// WriteAt, and accounts for them.
func (l *Log) writeLocked(recs []byte, a *appending) error {
	o := l.opts.Load()
	maxTimestamp, last := int64(-1), int64(0)
	for rest := recs; len(rest) > 0; {
		h, _, more, err := batch.Next(rest)
		if err != nil {
			return err
		}
		if err := l.noteEpochLocked(&h); err != nil {
			return err
		}
		maxTimestamp, last = max(maxTimestamp, h.MaxTimestamp), h.LastOffset()
		rest = more
	}
	if l.rollDueLocked(len(recs), maxTimestamp, last, a.now, o) {
		// Segments follow each other without holes, unless the offsets themselves
		// leave one that is too large for a segment.
		base := l.end.Load()
		if last-base > math.MaxInt32 {
			base = max(base, last-math.MaxInt32)
			if first, err := batch.ParseHeader(recs); err == nil && first.Magic >= 2 {
				base = max(l.end.Load(), first.BaseOffset)
			}
		}
		if err := l.rollLocked(base); err != nil {
			return err
		}
	}
	s := l.active()
	s.reserve(len(recs), a.now, o.SegmentBytes)
	position := s.size.Load()
	l.writing.start(l.o.clock)
	_, err := s.file.WriteAt(recs, position)
	l.writing.stop()
	if err != nil {
		// What a full disk took of it lies beyond the end; the next append goes over it.
		return l.failUnlessFull(err)
	}
	return l.accountLocked(s, recs, position, a, o)
}

// noteEpochLocked puts a new leader epoch into the cache. Old formats know none,
// so that a log which has them must not answer by epoch.
func (l *Log) noteEpochLocked(h *batch.Header) error {
	if h.Magic < 2 {
		return l.failIf(l.epochs.clear())
	}
	if h.LeaderEpoch < 0 {
		return nil
	}
	e := kafka.LeaderEpoch(h.LeaderEpoch)
	latest, ok := l.epochs.latest()
	if ok && latest.Epoch > e && l.epochs.dropFrom(h.BaseOffset) { // no record came of it
		l.epochs.unsaved = true
		latest, ok = l.epochs.latest()
	}
	if ok && latest.Epoch >= e {
		return nil
	}
	l.epochs.assign(e, h.BaseOffset)
	return nil
}

// accountLocked brings everything that follows from written batches up to date.
func (l *Log) accountLocked(s *segment, recs []byte, position int64, a *appending, o *Options) error {
	a.info.FirstOffset, a.info.Records, a.info.Bytes = -1, 0, len(recs)
	at := position
	for rest := recs; len(rest) > 0; {
		h, b, more, err := batch.Next(rest)
		if err != nil {
			return err
		}
		if a.info.FirstOffset < 0 {
			a.info.FirstOffset, a.info.MaxTimestamp = h.BaseOffset, h.MaxTimestamp
		}
		s.noteTimes(h.MaxTimestamp, h.LastOffset())
		if err := l.applyBatchLocked(s, &h, b); err != nil {
			return err
		}
		l.tail.add(tailBatch{base: h.BaseOffset, last: h.LastOffset(), position: at, size: h.Size()})
		a.info.MaxTimestamp = max(a.info.MaxTimestamp, h.MaxTimestamp)
		a.info.LastOffset = h.LastOffset()
		a.info.Records += max(int(h.Count), 1)
		at += int64(h.Size())
		rest = more
	}
	if err := s.indexAppend(a.info.LastOffset, position, len(recs), o.IndexIntervalBytes); err != nil {
		return l.failIf(err)
	}
	s.size.Store(at)
	l.size.Add(int64(len(recs)))
	l.end.Store(a.info.LastOffset + 1)
	l.unflushed += int64(a.info.Records)
	a.info.LogStartOffset, a.info.EndOffset = l.start.Load(), a.info.LastOffset+1
	if l.o.OnAppend != nil {
		l.o.OnAppend(len(recs))
	}
	return nil
}

// applyBatchLocked updates producers and the index of aborted transactions.
func (l *Log) applyBatchLocked(s *segment, h *batch.Header, b []byte) error {
	var m *marker
	if h.Control() {
		var err error
		if m, err = readMarker(b); err != nil {
			// A leader's control batch with a right CRC that says nothing we know.
			l.logger.Warn("control batch not understood", "offset", h.BaseOffset, "err", err)
		}
	}
	ended, ok := l.producers.apply(h, m)
	if !ok {
		return nil
	}
	if ended.abort {
		if err := s.txns.Append(ended.aborted(l.producers.lastStable(ended))); err != nil {
			return l.failIf(err)
		}
	}
	return nil
}
