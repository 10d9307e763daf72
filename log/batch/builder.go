package batch

// Producer is the identity of an idempotent or transactional producer.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the batch's first record; -1 in markers
}

// BuilderOptions describe the batches that a Builder makes. The zero value is
// an uncompressed batch at offset 0 without producer.
type BuilderOptions struct {
	Codec Codec
	// Level of the compression; 0 is the codec's default.
	Level int
	// Codecs is required if Codec is not None.
	Codecs      *Codecs
	BaseOffset  int64
	LeaderEpoch int32
	// Producer is nil for plain batches.
	Producer      *Producer
	Transactional bool
	Control       bool
	// LogAppendTime, if > 0, makes the batch carry that time in milliseconds.
	LogAppendTime int64
}

// Builder makes one magic-2 batch. It is not for use by many goroutines.
type Builder struct {
	o BuilderOptions
}

// NewBuilder returns a Builder for one batch.
func NewBuilder(o BuilderOptions) *Builder { return &Builder{o: o} }

// Append adds a record with the next offset. key, value and headers are copied;
// nil is null. ts is in milliseconds.
func (b *Builder) Append(ts int64, key, value []byte, headers ...RecordHeader) {}

// Count is the number of records so far.
func (b *Builder) Count() int { return 0 }

// Size is the size that the batch would have, uncompressed.
func (b *Builder) Size() int { return 0 }

// Bytes finishes and returns the batch. The Builder may then be Reset.
func (b *Builder) Bytes() ([]byte, error) { return nil, nil }

// Reset begins a new batch; what Bytes returned stays valid.
func (b *Builder) Reset(o BuilderOptions) {}

// Marker ends a transaction in a partition.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	Commit           bool // else abort
	CoordinatorEpoch int32
	Timestamp        int64 // milliseconds
}

// EndTxnMarker makes the control batch (78 bytes) that ends a transaction.
func EndTxnMarker(m Marker) []byte { return nil }

// ControlType is the kind of a control record.
type ControlType int16

// The control records of a broker's log; 2 to 6 are Raft's.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// ParseMarker reads the record of a control batch. ok is false for kinds that do
// not end a transaction.
func ParseMarker(r *Record) (commit bool, coordinatorEpoch int32, ok bool, err error) {
	return false, 0, false, nil
}
