// Package index keeps the sparse indexes of a segment: offset to file position,
// timestamp to offset, and the aborted transactions. The files are Kafka's
// (docs/format/log.md); indexes are derived, so who finds one damaged or absent
// rebuilds it from the segment.
//
// An index file comes with its first entry that is written out: an index of no
// entries needs no file. The newest entries are kept in memory until Sync, Seal
// or until there are some hundreds of them; so after a crash a file may lack
// the last entries that it had, and recovery rebuilds the index of every
// segment above the recovery point. Files that Kafka preallocated and left with
// a tail of zeros are understood, and trimmed by Sync, Seal and Close.
//
// All methods may be called by many goroutines; one lock per index, held over
// reads and writes of its file, never over a sync. Appends, truncations and Sync
// of one index belong to the writer of the segment.
package index

import (
	"errors"

	"barnabas/internal/vfs"
)

// ErrFull: the index has its largest size; the segment must roll.
var ErrFull = errors.New("index: full")

// ErrCorrupt: the file can't be the index of this segment; rebuild it.
var ErrCorrupt = errors.New("index: corrupt")

// ErrOrder: an entry was appended that does not follow the last one.
var ErrOrder = errors.New("index: entry out of order")

// DefaultMaxBytes is the default of segment.index.bytes.
const DefaultMaxBytes = 10 << 20

// Options of an index.
type Options struct {
	FS vfs.FS
	// Name is the path of the file.
	Name string
	// BaseOffset is the segment's.
	BaseOffset int64
	// MaxBytes bounds the file (segment.index.bytes); default DefaultMaxBytes.
	MaxBytes int
}
