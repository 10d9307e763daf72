package protocol

// AbortedTxn is a transaction that a reader must leave out (Fetch v4).
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// EpochEnd is a leader epoch and the offset after its last record.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}
