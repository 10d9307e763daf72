package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

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

// txnEntrySize: int16 version 0, then the four numbers.
const (
	txnEntrySize = 34
	txnVersion   = 0
)

// TxnIndex lists the aborted transactions whose markers are in a segment.
type TxnIndex struct {
	t    *table
	base int64
}

// OpenTxn opens the index; no file is no entries. MaxBytes does not bound it.
func OpenTxn(o Options) (*TxnIndex, error) {
	o.MaxBytes = math.MaxInt32
	t, err := openTable(o, txnEntrySize)
	if err != nil {
		return nil, err
	}
	return &TxnIndex{t: t, base: o.BaseOffset}, nil
}

func decodeTxn(b []byte) AbortedTxn {
	return AbortedTxn{
		ProducerID:       int64(binary.BigEndian.Uint64(b[2:])),
		FirstOffset:      int64(binary.BigEndian.Uint64(b[10:])),
		LastOffset:       int64(binary.BigEndian.Uint64(b[18:])),
		LastStableOffset: int64(binary.BigEndian.Uint64(b[26:])),
	}
}

// Check reads all entries and fails with ErrCorrupt if one can't belong to this
// segment, or has another version.
func (x *TxnIndex) Check() error {
	x.t.mu.Lock()
	ragged := x.t.ragged
	x.t.mu.Unlock()
	if ragged {
		return fmt.Errorf("%w: %s is no multiple of %d bytes", ErrCorrupt, x.Name(), txnEntrySize)
	}
	last := x.base - 1
	return x.each(0, func(i int, b []byte) error {
		t := decodeTxn(b)
		if version := binary.BigEndian.Uint16(b); version != txnVersion || t.LastOffset <= last || t.FirstOffset > t.LastOffset || t.FirstOffset < 0 {
			return fmt.Errorf("%w: %s, entry %d: version %d, producer %d, offsets %d to %d", ErrCorrupt, x.Name(), i, version, t.ProducerID, t.FirstOffset, t.LastOffset)
		}
		last = t.LastOffset
		return nil
	})
}

// each calls fn for the entries from the ith on.
func (x *TxnIndex) each(i int, fn func(i int, b []byte) error) error {
	for {
		block, err := x.t.entries(i)
		if err != nil || len(block) == 0 {
			return err
		}
		for ; len(block) > 0; block = block[txnEntrySize:] {
			if err := fn(i, block[:txnEntrySize]); err != nil {
				return err
			}
			i++
		}
	}
}

// Append adds a transaction; LastOffset strictly increases, else ErrOrder.
func (x *TxnIndex) Append(a AbortedTxn) error {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	if a.LastOffset < x.base || a.FirstOffset > a.LastOffset || x.t.count > 0 && a.LastOffset <= decodeTxn(x.t.last).LastOffset {
		return fmt.Errorf("%w: transaction at offsets %d to %d", ErrOrder, a.FirstOffset, a.LastOffset)
	}
	var b [txnEntrySize]byte
	binary.BigEndian.PutUint16(b[:], txnVersion)
	binary.BigEndian.PutUint64(b[2:], uint64(a.ProducerID))
	binary.BigEndian.PutUint64(b[10:], uint64(a.FirstOffset))
	binary.BigEndian.PutUint64(b[18:], uint64(a.LastOffset))
	binary.BigEndian.PutUint64(b[26:], uint64(a.LastStableOffset))
	return x.t.appendLocked(b[:])
}

// Collect appends to dst the transactions that a reader of [from, upTo) must
// know: those with LastOffset ≥ from and FirstOffset < upTo. complete tells that
// later segments need not be asked.
func (x *TxnIndex) Collect(dst []AbortedTxn, from, upTo int64) (_ []AbortedTxn, complete bool, err error) {
	n, at, _, err := x.t.search(func(b []byte) bool { return decodeTxn(b).LastOffset >= from })
	if err != nil || at == nil {
		return dst, false, err
	}
	err = x.each(n, func(_ int, b []byte) error {
		a := decodeTxn(b)
		if a.FirstOffset < upTo {
			dst = append(dst, a)
		}
		if a.LastStableOffset >= upTo {
			return errComplete
		}
		return nil
	})
	if err == errComplete {
		return dst, true, nil
	}
	return dst, false, err
}

// errComplete ends a walk early.
var errComplete = errors.New("index: complete")

// Len is the number of transactions.
func (x *TxnIndex) Len() int { return x.t.len() }

// Entry returns the ith transaction, counted from 0.
func (x *TxnIndex) Entry(i int) (AbortedTxn, error) {
	b, err := x.t.entry(i)
	if err != nil {
		return AbortedTxn{}, err
	}
	return decodeTxn(b), nil
}

// TruncateTo drops the transactions whose marker has an offset ≥ offset.
func (x *TxnIndex) TruncateTo(offset int64) error {
	n, _, _, err := x.t.search(func(b []byte) bool { return decodeTxn(b).LastOffset >= offset })
	if err != nil {
		return err
	}
	return x.t.truncate(n)
}

// Reset drops all entries and any damage, for a rebuild.
func (x *TxnIndex) Reset() error { return x.t.reset() }

// Sync is as OffsetIndex.Sync.
func (x *TxnIndex) Sync() error { return x.t.sync() }

// Seal is as OffsetIndex.Seal.
func (x *TxnIndex) Seal() error { return x.t.seal() }

// Freeze is as OffsetIndex.Freeze.
func (x *TxnIndex) Freeze() error { return x.t.freeze() }

// Close seals; a closed index can't be written any more.
func (x *TxnIndex) Close() error { return x.t.close() }

// Rename moves the file, if there is one.
func (x *TxnIndex) Rename(name string) error { return x.t.rename(name) }

// Moved is as OffsetIndex.Moved.
func (x *TxnIndex) Moved(name string) { x.t.moved(name) }

// Remove closes the index without writing and removes the file, if any.
func (x *TxnIndex) Remove() error { return x.t.remove() }

// Name is the path of the file.
func (x *TxnIndex) Name() string { return x.t.path() }
