package index

import (
	"encoding/binary"
	"fmt"
	"math"
)

// OffsetEntry says that the append whose last record has Offset begins at
// Position: a search for an offset ≥ Offset starts reading there.
type OffsetEntry struct {
	Offset   int64
	Position int64
}

// offsetEntrySize: int32 offset relative to the base, int32 position.
const offsetEntrySize = 8

// OffsetIndex maps offsets to file positions.
type OffsetIndex struct {
	t    *table
	base int64
}

// OpenOffset opens the index; no file is no entries.
func OpenOffset(o Options) (*OffsetIndex, error) {
	t, err := openTable(o, offsetEntrySize)
	if err != nil {
		return nil, err
	}
	return &OffsetIndex{t: t, base: o.BaseOffset}, nil
}

func (x *OffsetIndex) decode(b []byte) OffsetEntry {
	if b == nil {
		return OffsetEntry{Offset: x.base}
	}
	return OffsetEntry{
		Offset:   x.base + int64(int32(binary.BigEndian.Uint32(b))),
		Position: int64(int32(binary.BigEndian.Uint32(b[4:]))),
	}
}

// Check fails with ErrCorrupt if the file's length or its last entry can't be
// right: offset ≤ base, or a position outside the segment.
func (x *OffsetIndex) Check(segmentSize int64) error {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	if x.t.ragged {
		return fmt.Errorf("%w: %s is no multiple of %d bytes", ErrCorrupt, x.t.name, offsetEntrySize)
	}
	if last := x.decode(x.t.last); x.t.count > 0 && (last.Offset <= x.base || last.Position < 0 || last.Position >= segmentSize) {
		return fmt.Errorf("%w: %s ends with offset %d at %d, where the segment begins with %d and has %d bytes",
			ErrCorrupt, x.t.name, last.Offset, last.Position, x.base, segmentSize)
	}
	return nil
}

// Append adds an entry; offsets and positions strictly increase, else ErrOrder.
// ErrFull if there is no room.
func (x *OffsetIndex) Append(offset, position int64) error {
	relative := offset - x.base
	if relative < 0 || relative > math.MaxInt32 || position < 0 || position > math.MaxInt32 {
		return fmt.Errorf("%w: offset %d at %d does not fit the segment at %d", ErrOrder, offset, position, x.base)
	}
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	if x.t.count >= x.t.max {
		return ErrFull
	}
	if last := x.decode(x.t.last); x.t.count > 0 && (offset <= last.Offset || position <= last.Position) {
		return fmt.Errorf("%w: offset %d at %d after %d at %d", ErrOrder, offset, position, last.Offset, last.Position)
	}
	var b [offsetEntrySize]byte
	binary.BigEndian.PutUint32(b[:], uint32(relative))
	binary.BigEndian.PutUint32(b[4:], uint32(position))
	return x.t.appendLocked(b[:])
}

// Lookup returns the greatest entry with an offset ≤ target, or (base, 0).
func (x *OffsetIndex) Lookup(target int64) (OffsetEntry, error) {
	_, _, before, err := x.t.search(func(b []byte) bool { return x.decode(b).Offset > target })
	return x.decode(before), err
}

// Above returns the first entry whose position is ≥ position, if there is one:
// the data before it ends a read of that many bytes.
func (x *OffsetIndex) Above(position int64) (OffsetEntry, bool, error) {
	_, at, _, err := x.t.search(func(b []byte) bool { return x.decode(b).Position >= position })
	return x.decode(at), at != nil, err
}

// Below returns the last entry whose position is ≤ position, or (base, 0): a
// batch begins there.
func (x *OffsetIndex) Below(position int64) (OffsetEntry, error) {
	_, _, before, err := x.t.search(func(b []byte) bool { return x.decode(b).Position > position })
	return x.decode(before), err
}

// Last returns the last entry, or (base, 0).
func (x *OffsetIndex) Last() OffsetEntry {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	return x.decode(x.t.last)
}

// Len is the number of entries.
func (x *OffsetIndex) Len() int { return x.t.len() }

// Full tells whether Append has no room.
func (x *OffsetIndex) Full() bool { return x.t.len() >= x.t.max }

// Entry returns the ith entry, counted from 0.
func (x *OffsetIndex) Entry(i int) (OffsetEntry, error) {
	b, err := x.t.entry(i)
	return x.decode(b), err
}

// TruncateTo drops the entries with an offset ≥ offset.
func (x *OffsetIndex) TruncateTo(offset int64) error {
	n, _, _, err := x.t.search(func(b []byte) bool { return x.decode(b).Offset >= offset })
	if err != nil {
		return err
	}
	return x.t.truncate(n)
}

// Reset drops all entries and any damage, for a rebuild.
func (x *OffsetIndex) Reset() error { return x.t.reset() }

// Sync writes all entries out and makes them durable, with the file's name if
// that is new. It may be called on a sealed index.
func (x *OffsetIndex) Sync() error { return x.t.sync() }

// Create makes the file if there is none, be it empty: Apache Kafka and its tools
// want the offset index of every segment.
func (x *OffsetIndex) Create() error { return x.t.create() }

// Seal writes all entries out, trims the file and gives back memory and
// descriptor: the segment has become inactive. Lookups then open the file when
// they need it; Append and Sync reopen it. Seal itself does not sync.
func (x *OffsetIndex) Seal() error { return x.t.seal() }

// Freeze lets go of the descriptor and writes nothing any more: the file is to be
// removed, or its name will be another's. Lookups go on, with what only memory has.
func (x *OffsetIndex) Freeze() error { return x.t.freeze() }

// Close seals; a closed index can't be written any more.
func (x *OffsetIndex) Close() error { return x.t.close() }

// Rename moves the file, if there is one. The caller syncs the directory.
func (x *OffsetIndex) Rename(name string) error { return x.t.rename(name) }

// Moved tells the index that its file has another path, since its directory was
// renamed.
func (x *OffsetIndex) Moved(name string) { x.t.moved(name) }

// Remove closes the index without writing and removes the file, if any.
func (x *OffsetIndex) Remove() error { return x.t.remove() }

// Name is the path of the file.
func (x *OffsetIndex) Name() string { return x.t.path() }
