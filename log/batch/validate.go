package batch

import (
	"errors"
	"fmt"
	"math"
	"time"

	"barnabas/internal/kafka"
)

// Depth is how closely Validate looks at compressed batches. Uncompressed ones
// are always walked.
type Depth int8

const (
	// Full decompresses the batch and walks its records.
	Full Depth = iota
	// HeaderOnly believes what the header and the CRC say, unless the rules need
	// the records (keys, bounds of timestamps) or the largest timestamp is more
	// than an hour ahead.
	HeaderOnly
)

// implausible is how far ahead of now a largest timestamp is not believed
// without looking at the records.
const implausible = time.Hour

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
	// Codecs opens compressed batches; required if they may have to be opened.
	Codecs *Codecs
	// Partition is named in messages about refused records; it may be left zero.
	Partition kafka.TopicPartition
}

// Validate judges b, one whole magic-2 batch from a client, whose header is h:
// the client-origin rules of log.LogValidator and docs/coordination.md §11. On
// success b and h have the timestamp type and the largest timestamp that the
// topic wants (docs/format/log.md), the CRC made anew if that changed anything.
// b is not kept, and nothing is allocated unless records are refused or
// decompressed.
//
// Errors, all of this package: ErrCorrupt (CRC, length), ErrTooLarge,
// ErrInvalidRecord, ErrInvalidTimestamp, ErrUnsupportedCodec, ErrDecompress,
// ErrLimit; as *RecordErrors where single records are at fault. Legacy messages
// (h.Magic < 2) are refused with ErrInvalidRecord: convert them first.
func Validate(b []byte, h *Header, r *Rules) error {
	if h.Magic != 2 {
		return fmt.Errorf("%w: message format %d", ErrInvalidRecord, h.Magic)
	}
	if h.Size() != len(b) || len(b) < HeaderSize {
		return fmt.Errorf("%w: %d bytes where the header says %d", ErrCorrupt, len(b), h.Size())
	}
	if h.BaseOffset != 0 {
		return fmt.Errorf("%w: base offset %d instead of 0", ErrInvalidRecord, h.BaseOffset)
	}
	if len(b) > r.MaxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(b), r.MaxBytes)
	}
	if !CheckCRC(b) {
		return fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	if err := validateHeader(h, r); err != nil {
		return err
	}
	maxTimestamp, err := validateRecords(b[HeaderSize:], h, r)
	if err != nil {
		return err
	}
	if r.LogAppendTime {
		maxTimestamp = r.Now.UnixMilli()
	}
	if maxTimestamp != h.MaxTimestamp || r.LogAppendTime != h.LogAppendTime() {
		SetMaxTimestamp(b, r.LogAppendTime, maxTimestamp)
		*h, err = ParseHeader(b)
	}
	return err
}

// validateHeader applies the rules that need no record.
func validateHeader(h *Header, r *Rules) error {
	switch {
	case h.Attributes&(attrReserved|AttrDeleteHorizon) != 0:
		return fmt.Errorf("%w: attributes %#04x have bits that clients may not set", ErrInvalidRecord, uint16(h.Attributes))
	case h.Control():
		return fmt.Errorf("%w: clients may not write control records", ErrInvalidRecord)
	case h.Count <= 0 || int64(h.Count) != int64(h.LastOffsetDelta)+1:
		return fmt.Errorf("%w: %d records where the last offset delta is %d", ErrInvalidRecord, h.Count, h.LastOffsetDelta)
	case h.ProducerID < Absent, h.HasProducer() && (h.ProducerEpoch < 0 || h.BaseSequence < 0), h.Transactional() && !h.HasProducer():
		return fmt.Errorf("%w: producer id %d, epoch %d, sequence %d", ErrInvalidRecord, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	case r.LogAppendTime && h.LogAppendTime():
		return &RecordErrors{Err: ErrInvalidTimestamp, Total: 1, Records: []RecordError{{
			Message: "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime."}}}
	case !h.Codec().Valid():
		return fmt.Errorf("%w: %d", ErrUnsupportedCodec, h.Codec())
	}
	return nil
}

// validateRecords walks the records, if it has to, and returns their largest
// timestamp.
func validateRecords(p []byte, h *Header, r *Rules) (int64, error) {
	if h.Codec() == None {
		return walkRecords(p, h, r)
	}
	bounded := !r.LogAppendTime && (r.BeforeMax > 0 || r.AfterMax > 0)
	ahead := !r.LogAppendTime && h.MaxTimestamp > r.Now.Add(implausible).UnixMilli()
	if r.Depth == HeaderOnly && !r.Compacted && !bounded && !ahead && !h.LogAppendTime() {
		return h.MaxTimestamp, nil
	}
	room := r.Codecs.enter(h.Codec(), p)
	defer r.Codecs.leave(room)
	scratch := r.Codecs.getScratch()
	defer r.Codecs.putScratch(scratch)
	opened, err := r.Codecs.Decompress(h.Codec(), (*scratch)[:0], p, 0)
	if err != nil {
		return 0, err
	}
	*scratch = opened
	return walkRecords(opened, h, r)
}

// walkRecords applies the rules to each record of p, opened.
func walkRecords(p []byte, h *Header, r *Rules) (int64, error) {
	earliest, latest := int64(math.MinInt64), int64(math.MaxInt64)
	if now := r.Now.UnixMilli(); !r.LogAppendTime {
		if r.BeforeMax > 0 {
			earliest = now - r.BeforeMax.Milliseconds()
		}
		if r.AfterMax > 0 {
			latest = now + r.AfterMax.Milliseconds()
		}
	}
	var refused RecordErrors
	maxTimestamp := int64(Absent)
	w := walker{p: p, left: h.Count}
	for {
		maxTimestamp = w.skim(h.BaseTimestamp, maxTimestamp, accepted{earliest, latest, r.Compacted})
		if !w.next() {
			break
		}
		if r.Compacted && w.rec.key == nil {
			refused.add(ErrInvalidRecord, int(w.index), noKeyMessage(r))
		}
		// A client's LogAppendTime bit on a CreateTime topic is cleared, so the
		// records' own timestamps count.
		ts := h.BaseTimestamp + w.rec.timestampDelta
		if ts != Absent && (ts < earliest || ts > latest) {
			refused.add(ErrInvalidTimestamp, int(w.index), timestampMessage(ts, w.index, earliest, latest))
		}
		maxTimestamp = max(maxTimestamp, ts)
	}
	if w.err != nil {
		return 0, w.err
	}
	if refused.Err != nil {
		e := refused
		return 0, &e
	}
	return maxTimestamp, nil
}

func noKeyMessage(r *Rules) string {
	if r.Partition.Topic == "" {
		return "Compacted topic cannot accept message without key"
	}
	return "Compacted topic cannot accept message without key in topic partition " + r.Partition.String()
}

func timestampMessage(ts int64, index int32, earliest, latest int64) string {
	return fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
		ts, index, earliest, latest)
}

// AsRecordErrors returns the refused records in err, if any are named.
func AsRecordErrors(err error) (*RecordErrors, bool) {
	var e *RecordErrors
	ok := errors.As(err, &e)
	return e, ok
}
