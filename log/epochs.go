package log

import (
	"slices"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
)

// epochCache remembers where each leader epoch begins
// (storage.internals.epoch.LeaderEpochFileCache). Invariant: epochs and start
// offsets strictly increase. It is guarded by Log.mu. What is taken away is
// written to the leader-epoch-checkpoint at once, unless the disk is full; what is
// added with the next flush, before the recovery point moves: until then a
// recovery finds it in the batches, and a leadership over some thousand
// partitions begins without a sync for each.
type epochCache struct {
	fs      vfs.FS
	file    string
	entries []checkpoint.Epoch
	unsaved bool // the file differs
}

func (c *epochCache) save() error {
	err := checkpoint.WriteEpochs(c.fs, c.file, c.entries)
	c.unsaved = vfs.NoSpace(err)
	if c.unsaved {
		return nil
	}
	return err
}

// saveAgain writes what the file lacks; it fails if there is no room for it.
func (c *epochCache) saveAgain() error {
	if !c.unsaved {
		return nil
	}
	err := checkpoint.WriteEpochs(c.fs, c.file, c.entries)
	c.unsaved = err != nil
	return err
}

// latest returns the last entry.
func (c *epochCache) latest() (checkpoint.Epoch, bool) {
	if len(c.entries) == 0 {
		return checkpoint.Epoch{}, false
	}
	return c.entries[len(c.entries)-1], true
}

// note is assign without writing; it tells whether anything changed.
func (c *epochCache) note(e kafka.LeaderEpoch, start int64) bool {
	if e < 0 || start < 0 {
		return false
	}
	if last, ok := c.latest(); ok && last.Epoch == e && start >= last.StartOffset {
		return false
	}
	// Entries that contradict the new one go: later epochs, and later starts.
	keep := len(c.entries)
	for keep > 0 && (c.entries[keep-1].Epoch >= e || c.entries[keep-1].StartOffset >= start) {
		keep--
	}
	c.entries = append(c.entries[:keep], checkpoint.Epoch{Epoch: e, StartOffset: start})
	return true
}

// assign notes that e begins at start.
func (c *epochCache) assign(e kafka.LeaderEpoch, start int64) {
	if c.note(e, start) {
		c.unsaved = true
	}
}

// truncateFromEnd removes the entries that start at or after end.
func (c *epochCache) truncateFromEnd(end int64) error {
	if !c.dropFrom(end) {
		return nil
	}
	return c.save()
}

// dropFrom is truncateFromEnd without writing; it tells whether anything changed.
func (c *epochCache) dropFrom(end int64) bool {
	keep := len(c.entries)
	for keep > 0 && c.entries[keep-1].StartOffset >= end {
		keep--
	}
	dropped := keep < len(c.entries)
	c.entries = c.entries[:keep]
	return dropped
}

// truncateFromStart joins the entries that start at or before start into one
// that starts there.
func (c *epochCache) truncateFromStart(start int64) error {
	n := 0
	for n < len(c.entries) && c.entries[n].StartOffset <= start {
		n++
	}
	if n == 0 || n == 1 && c.entries[0].StartOffset == start {
		return nil
	}
	c.entries = slices.Delete(c.entries, 0, n-1)
	c.entries[0].StartOffset = start
	return c.save()
}

// clear forgets all.
func (c *epochCache) clear() error {
	if len(c.entries) == 0 {
		return nil
	}
	c.entries = nil
	return c.save()
}

// endOffset answers OffsetsForLeaderEpoch for a log that ends at end
// (docs/format/log.md).
func (c *epochCache) endOffset(e kafka.LeaderEpoch, end int64) (kafka.LeaderEpoch, int64) {
	last, ok := c.latest()
	switch {
	case e < 0 || !ok:
		return -1, -1
	case e == last.Epoch:
		return e, end
	case e > last.Epoch:
		return -1, -1
	}
	// The first entry with a higher epoch exists.
	i := slices.IndexFunc(c.entries, func(x checkpoint.Epoch) bool { return x.Epoch > e })
	if i == 0 {
		return e, c.entries[0].StartOffset
	}
	return c.entries[i-1].Epoch, c.entries[i].StartOffset
}

// forOffset returns the epoch that holds offset o.
func (c *epochCache) forOffset(o int64) (kafka.LeaderEpoch, bool) {
	for i := len(c.entries) - 1; i >= 0; i-- {
		if c.entries[i].StartOffset <= o {
			return c.entries[i].Epoch, true
		}
	}
	return 0, false
}

// holds reports whether the cache has a batch in the epoch that its header names. Old
// formats name none.
func (c *epochCache) holds(h *batch.Header) bool {
	if h.LeaderEpoch < 0 {
		return true
	}
	e, ok := c.forOffset(h.LastOffset())
	return ok && e == kafka.LeaderEpoch(h.LeaderEpoch)
}

// AssignEpoch notes that epoch e began at offset start.
func (l *Log) AssignEpoch(e kafka.LeaderEpoch, start int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	l.epochs.assign(e, start)
	return nil
}

// LatestEpoch returns the last leader epoch, if any.
func (l *Log) LatestEpoch() (kafka.LeaderEpoch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.epochs.latest()
	return e.Epoch, ok
}

// EpochForOffset returns the leader epoch that offset o was or would be written
// in.
func (l *Log) EpochForOffset(o int64) (kafka.LeaderEpoch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs.forOffset(o)
}

// EndOffsetForEpoch answers OffsetsForLeaderEpoch (docs/format/log.md): the largest
// epoch ≤ e and where it ends, (-1, -1) if unknown.
func (l *Log) EndOffsetForEpoch(e kafka.LeaderEpoch) (kafka.LeaderEpoch, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs.endOffset(e, l.end.Load())
}
