// Package index keeps the sparse indexes of a segment: offset to file position,
// timestamp to offset, and the aborted transactions. The files are Kafka's
// (log-format.md §2.1); indexes are derived, so who finds one damaged or absent
// rebuilds it from the segment.
//
// An index file comes with its first entry that is written out: an index of no
// entries has no file. The newest entries are kept in memory until Sync, Seal
// or until there are some hundreds of them; so after a crash a file may lack
// the last entries that it had, and recovery rebuilds the index of every
// segment above the recovery point. Files that Kafka preallocated and left with
// a tail of zeros are understood, and trimmed by Seal and Close.
//
// All methods may be called by many goroutines. Appends, truncations and Sync of
// one index belong to the writer of the segment.
package index

import (
	"errors"

	"barnabas/internal/vfs"
)

// ErrFull: the index has its largest size; the segment must roll.
var ErrFull = errors.New("index: full")

// ErrCorrupt: the file can't be the index of this segment; rebuild it.
var ErrCorrupt = errors.New("index: corrupt")

// Options of an offset or time index.
type Options struct {
	FS vfs.FS
	// Name is the path of the file.
	Name string
	// BaseOffset is the segment's.
	BaseOffset int64
	// MaxBytes bounds the file (segment.index.bytes); default 10 MiB.
	MaxBytes int
}

// OffsetEntry says that the batches up to Offset end at or after Position: a
// search for an offset ≥ Offset starts reading there.
type OffsetEntry struct {
	Offset   int64
	Position int64
}

// OffsetIndex maps offsets to file positions.
type OffsetIndex struct{}

// OpenOffset opens the index; no file is no entries.
func OpenOffset(o Options) (*OffsetIndex, error) { return &OffsetIndex{}, nil }

// Check fails with ErrCorrupt if the file's length or last entry can't be right
// (offset ≤ base, or position ≥ segmentSize).
func (x *OffsetIndex) Check(segmentSize int64) error { return nil }

// Append adds an entry; offsets strictly increase. ErrFull if there is no room.
func (x *OffsetIndex) Append(offset, position int64) error { return nil }

// Lookup returns the greatest entry with an offset ≤ target, or (base, 0).
func (x *OffsetIndex) Lookup(target int64) (OffsetEntry, error) { return OffsetEntry{}, nil }

// Above returns the first entry whose position is ≥ position, if there is one:
// a bound for reads of that many bytes.
func (x *OffsetIndex) Above(position int64) (OffsetEntry, bool, error) {
	return OffsetEntry{}, false, nil
}

// Last returns the last entry, or (base, 0).
func (x *OffsetIndex) Last() OffsetEntry { return OffsetEntry{} }

// Len is the number of entries.
func (x *OffsetIndex) Len() int { return 0 }

// Full tells whether Append has no room.
func (x *OffsetIndex) Full() bool { return false }

// Entry returns the ith entry.
func (x *OffsetIndex) Entry(i int) (OffsetEntry, error) { return OffsetEntry{}, nil }

// TruncateTo drops the entries with an offset ≥ offset.
func (x *OffsetIndex) TruncateTo(offset int64) error { return nil }

// Reset drops all entries and any damage, for a rebuild.
func (x *OffsetIndex) Reset() error { return nil }

// Sync writes all entries out and makes them durable.
func (x *OffsetIndex) Sync() error { return nil }

// Seal writes all entries out, trims the file and gives back memory and
// descriptor: the segment has become inactive. Lookups open the file when they
// need it. Append reopens.
func (x *OffsetIndex) Seal() error { return nil }

// Close seals; a closed index can't be used.
func (x *OffsetIndex) Close() error { return nil }

// Rename moves the file, if there is one.
func (x *OffsetIndex) Rename(name string) error { return nil }

// Remove closes the index without writing and removes the file, if any.
func (x *OffsetIndex) Remove() error { return nil }

// Name is the path of the file.
func (x *OffsetIndex) Name() string { return "" }

// TimeEntry says that no record before Offset's batch has a timestamp greater
// than Timestamp.
type TimeEntry struct {
	Timestamp int64
	Offset    int64
}

// TimeIndex maps timestamps to offsets.
type TimeIndex struct{}

// OpenTime opens the index; no file is no entries.
func OpenTime(o Options) (*TimeIndex, error) { return &TimeIndex{}, nil }

// Check is OffsetIndex.Check's sibling: the last entry's offset must be ≥ base.
func (x *TimeIndex) Check() error { return nil }

// Append adds an entry if timestamp is greater than the last one's; otherwise it
// does nothing. final may use the slot that is kept for the entry at roll and
// close.
func (x *TimeIndex) Append(timestamp, offset int64, final bool) error { return nil }

// Lookup returns the greatest entry with a timestamp ≤ target, or (-1, base).
func (x *TimeIndex) Lookup(target int64) (TimeEntry, error) { return TimeEntry{}, nil }

// Last returns the last entry, or (-1, base).
func (x *TimeIndex) Last() TimeEntry { return TimeEntry{} }

// Len, Full, Entry, TruncateTo, Reset, Sync, Seal, Close, Rename, Remove and
// Name are as OffsetIndex's.
func (x *TimeIndex) Len() int                       { return 0 }
func (x *TimeIndex) Full() bool                     { return false }
func (x *TimeIndex) Entry(i int) (TimeEntry, error) { return TimeEntry{}, nil }
func (x *TimeIndex) TruncateTo(offset int64) error  { return nil }
func (x *TimeIndex) Reset() error                   { return nil }
func (x *TimeIndex) Sync() error                    { return nil }
func (x *TimeIndex) Seal() error                    { return nil }
func (x *TimeIndex) Close() error                   { return nil }
func (x *TimeIndex) Rename(name string) error       { return nil }
func (x *TimeIndex) Remove() error                  { return nil }
func (x *TimeIndex) Name() string                   { return "" }

// AbortedTxn is a transaction that was aborted.
type AbortedTxn struct {
	ProducerID int64
	// FirstOffset is that of its first record in the partition, LastOffset that
	// of its marker.
	FirstOffset, LastOffset int64
	// LastStableOffset when the marker was written: the first offset of the
	// earliest other open transaction, else LastOffset + 1.
	LastStableOffset int64
}

// TxnIndex lists the aborted transactions whose markers are in a segment.
type TxnIndex struct{}

// OpenTxn opens the index; no file is no entries. MaxBytes does not bound it.
func OpenTxn(o Options) (*TxnIndex, error) { return &TxnIndex{}, nil }

// Check fails with ErrCorrupt if an entry can't belong to this segment.
func (x *TxnIndex) Check() error { return nil }

// Append adds a transaction; LastOffset strictly increases.
func (x *TxnIndex) Append(t AbortedTxn) error { return nil }

// Collect appends to dst the transactions that a reader of [from, upTo) must
// know. complete tells that later segments need not be asked.
func (x *TxnIndex) Collect(dst []AbortedTxn, from, upTo int64) (_ []AbortedTxn, complete bool, err error) {
	return dst, false, nil
}

// Len is the number of transactions; the rest as of OffsetIndex. TruncateTo
// drops those with a LastOffset ≥ offset.
func (x *TxnIndex) Len() int                      { return 0 }
func (x *TxnIndex) TruncateTo(offset int64) error { return nil }
func (x *TxnIndex) Reset() error                  { return nil }
func (x *TxnIndex) Sync() error                   { return nil }
func (x *TxnIndex) Seal() error                   { return nil }
func (x *TxnIndex) Close() error                  { return nil }
func (x *TxnIndex) Rename(name string) error      { return nil }
func (x *TxnIndex) Remove() error                 { return nil }
func (x *TxnIndex) Name() string                  { return "" }
