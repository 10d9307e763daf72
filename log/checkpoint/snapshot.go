package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// Producer is one entry of a producer snapshot. Absent numbers are -1.
type Producer struct {
	ID    kafka.ProducerID
	Epoch kafka.ProducerEpoch
	// LastSequence, LastOffset and OffsetDelta (last minus first offset) are of
	// the last batch; -1, -1 and 0 if none is remembered.
	LastSequence     int32
	LastOffset       int64
	OffsetDelta      int32
	LastTimestamp    int64 // milliseconds
	CoordinatorEpoch int32
	TxnFirstOffset   int64 // of the open transaction
}

// A snapshot is an int16 version, a CRC-32C over all after it, an int32 count
// and the entries (org.apache.kafka.storage.internals.log.ProducerStateManager).
const (
	snapshotVersion   = 1
	snapshotHead      = 10
	snapshotPosCRC    = 2
	snapshotPosCount  = 6 // the CRC covers all from here
	snapshotEntrySize = 46
	maxSnapshotBytes  = 1 << 30
)

// EncodeSnapshot returns the bytes of a producer snapshot, entries in the order
// given.
func EncodeSnapshot(producers []Producer) []byte {
	b := make([]byte, snapshotPosCount, snapshotHead+len(producers)*snapshotEntrySize)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(producers)))
	for i := range producers {
		p := &producers[i]
		b = binary.BigEndian.AppendUint64(b, uint64(p.ID))
		b = binary.BigEndian.AppendUint16(b, uint16(p.Epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(p.LastSequence))
		b = binary.BigEndian.AppendUint64(b, uint64(p.LastOffset))
		b = binary.BigEndian.AppendUint32(b, uint32(p.OffsetDelta))
		b = binary.BigEndian.AppendUint64(b, uint64(p.LastTimestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(p.CoordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(p.TxnFirstOffset))
	}
	binary.BigEndian.PutUint32(b[snapshotPosCRC:], crc32.Checksum(b[snapshotPosCount:], castagnoli))
	return b
}

// castagnoli is what hash/crc32 itself keeps one of; it is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DecodeSnapshot reads what EncodeSnapshot writes; name is for errors.
func DecodeSnapshot(name string, b []byte) ([]Producer, error) {
	bad := func(format string, args ...any) ([]Producer, error) {
		return nil, &CorruptError{File: name, What: fmt.Sprintf(format, args...)}
	}
	if len(b) < snapshotHead {
		return bad("%d bytes", len(b))
	}
	if version := binary.BigEndian.Uint16(b); version != snapshotVersion {
		return bad("version %d", version)
	}
	if crc32.Checksum(b[snapshotPosCount:], castagnoli) != binary.BigEndian.Uint32(b[snapshotPosCRC:]) {
		return bad("wrong checksum")
	}
	n := binary.BigEndian.Uint32(b[snapshotPosCount:])
	if uint64(len(b)-snapshotHead) != uint64(n)*snapshotEntrySize {
		return bad("%d bytes for %d producers", len(b), n)
	}
	producers := make([]Producer, n)
	for i := range producers {
		e := b[snapshotHead+i*snapshotEntrySize:]
		producers[i] = Producer{
			ID:               kafka.ProducerID(binary.BigEndian.Uint64(e)),
			Epoch:            kafka.ProducerEpoch(binary.BigEndian.Uint16(e[8:])),
			LastSequence:     int32(binary.BigEndian.Uint32(e[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(e[14:])),
			OffsetDelta:      int32(binary.BigEndian.Uint32(e[22:])),
			LastTimestamp:    int64(binary.BigEndian.Uint64(e[26:])),
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(e[34:])),
			TxnFirstOffset:   int64(binary.BigEndian.Uint64(e[38:])),
		}
	}
	return producers, nil
}

// ReadSnapshot reads a producer snapshot of at most 1 GiB.
func ReadSnapshot(fs vfs.FS, name string) ([]Producer, error) {
	b, err := vfs.ReadFile(fs, name, maxSnapshotBytes)
	if err != nil {
		return nil, err
	}
	return DecodeSnapshot(name, b)
}

// WriteSnapshot writes a producer snapshot. It is made durable only if sync; the
// CRC tells a torn one.
func WriteSnapshot(fs vfs.FS, name string, producers []Producer, sync bool) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(EncodeSnapshot(producers), 0)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
