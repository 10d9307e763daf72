package index

import (
	"encoding/binary"
	"fmt"
	"math"
)

// TimeEntry says that no record up to Offset has a timestamp greater than
// Timestamp (milliseconds).
type TimeEntry struct {
	Timestamp int64
	Offset    int64
}

// timeEntrySize: int64 timestamp, int32 offset relative to the base.
const timeEntrySize = 12

// TimeIndex maps timestamps to offsets.
type TimeIndex struct {
	t    *table
	base int64
}

// OpenTime opens the index; no file is no entries.
func OpenTime(o Options) (*TimeIndex, error) {
	t, err := openTable(o, timeEntrySize)
	if err != nil {
		return nil, err
	}
	return &TimeIndex{t: t, base: o.BaseOffset}, nil
}

func (x *TimeIndex) decode(b []byte) TimeEntry {
	if b == nil {
		return TimeEntry{Timestamp: -1, Offset: x.base}
	}
	return TimeEntry{
		Timestamp: int64(binary.BigEndian.Uint64(b)),
		Offset:    x.base + int64(int32(binary.BigEndian.Uint32(b[8:]))),
	}
}

// Check fails with ErrCorrupt if the file's length or its last entry can't be
// right: an offset below the base, a timestamp below the first one's.
func (x *TimeIndex) Check() error {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	if x.t.ragged {
		return fmt.Errorf("%w: %s is no multiple of %d bytes", ErrCorrupt, x.t.name, timeEntrySize)
	}
	if x.t.count == 0 {
		return nil
	}
	first, err := x.t.entryLocked(0)
	if err != nil {
		return err
	}
	if last, first := x.decode(x.t.last), x.decode(first); last.Offset < x.base || last.Timestamp < first.Timestamp {
		return fmt.Errorf("%w: %s ends with offset %d and timestamp %d, where the segment begins with %d and the index with timestamp %d",
			ErrCorrupt, x.t.name, last.Offset, last.Timestamp, x.base, first.Timestamp)
	}
	return nil
}

// Append adds an entry if timestamp is greater than the last one's (≥ 0 in an
// empty index); otherwise it does nothing. One slot is kept for the final entry
// at roll and close; ErrFull if there is no room.
func (x *TimeIndex) Append(timestamp, offset int64, final bool) error {
	relative := offset - x.base
	if relative < 0 || relative > math.MaxInt32 {
		return fmt.Errorf("%w: offset %d does not fit the segment at %d", ErrOrder, offset, x.base)
	}
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	last := x.decode(x.t.last)
	if timestamp <= last.Timestamp {
		return nil
	}
	if x.t.count > 0 && offset < last.Offset {
		return fmt.Errorf("%w: offset %d after %d", ErrOrder, offset, last.Offset)
	}
	if x.t.count >= x.t.max || !final && x.fullLocked() {
		return ErrFull
	}
	var b [timeEntrySize]byte
	binary.BigEndian.PutUint64(b[:], uint64(timestamp))
	binary.BigEndian.PutUint32(b[8:], uint32(relative))
	return x.t.appendLocked(b[:])
}

// Lookup returns the greatest entry with a timestamp ≤ target, or (-1, base).
func (x *TimeIndex) Lookup(target int64) (TimeEntry, error) {
	_, _, before, err := x.t.search(func(b []byte) bool { return x.decode(b).Timestamp > target })
	return x.decode(before), err
}

// Last returns the last entry, or (-1, base).
func (x *TimeIndex) Last() TimeEntry {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	return x.decode(x.t.last)
}

// Len is the number of entries.
func (x *TimeIndex) Len() int { return x.t.len() }

// Full tells whether Append has room for the final entry only.
func (x *TimeIndex) Full() bool {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	return x.fullLocked()
}

func (x *TimeIndex) fullLocked() bool { return x.t.count >= x.t.max-1 }

// Entry returns the ith entry, counted from 0.
func (x *TimeIndex) Entry(i int) (TimeEntry, error) {
	b, err := x.t.entry(i)
	return x.decode(b), err
}

// TruncateTo drops the entries with an offset ≥ offset.
func (x *TimeIndex) TruncateTo(offset int64) error {
	n, _, _, err := x.t.search(func(b []byte) bool { return x.decode(b).Offset >= offset })
	if err != nil {
		return err
	}
	return x.t.truncate(n)
}

// Reset drops all entries and any damage, for a rebuild.
func (x *TimeIndex) Reset() error { return x.t.reset() }

// Sync is as OffsetIndex.Sync.
func (x *TimeIndex) Sync() error { return x.t.sync() }

// Seal is as OffsetIndex.Seal. The final entry must have been appended.
func (x *TimeIndex) Seal() error { return x.t.seal() }

// Freeze is as OffsetIndex.Freeze.
func (x *TimeIndex) Freeze() error { return x.t.freeze() }

// Close seals; a closed index can't be written any more.
func (x *TimeIndex) Close() error { return x.t.close() }

// Rename moves the file, if there is one.
func (x *TimeIndex) Rename(name string) error { return x.t.rename(name) }

// Moved is as OffsetIndex.Moved.
func (x *TimeIndex) Moved(name string) { x.t.moved(name) }

// Remove closes the index without writing and removes the file, if any.
func (x *TimeIndex) Remove() error { return x.t.remove() }

// Name is the path of the file.
func (x *TimeIndex) Name() string { return x.t.path() }
