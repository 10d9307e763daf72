package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// UpRules say how a client's message set of format 0 or 1 becomes a batch.
type UpRules struct {
	// MaxBytes is the largest whole message (max.message.bytes). What the batch
	// may have is for Validate to judge.
	MaxBytes int
	// Recompress says that the batch is compressed with Codec and Level, whatever
	// the client used (compression.type other than producer).
	Recompress bool
	Codec      Codec
	Level      int
	// Codecs is required.
	Codecs *Codecs
}

// IsLegacy tells whether set begins with a message of format 0 or 1.
func IsLegacy(set []byte) bool { return len(set) >= MinParse && int8(set[posMagic]) < 2 }

// ConvertUp makes one magic-2 batch, with base offset 0, of the message set that
// a client of Produce 0 to 2 sent: either messages that are not compressed, or
// one compressed wrapper, whose codec the batch keeps. What is there of a
// message that is cut short at the end is left out. Offsets that the client gave
// are not kept; records of format 0 have the timestamp -1 (LogValidator of Kafka,
// KIP-31, KIP-32).
//
// The batch has the LogAppendTime bit if a message had it, and is still to be
// judged by Validate. Messages' checksums are checked, also of those inside a
// wrapper. set is not changed and not kept.
//
// Errors: ErrShort (no whole message), ErrCorrupt, ErrTooLarge, ErrInvalidRecord,
// ErrInvalidTimestamp, ErrUnsupportedCodec, ErrDecompress, ErrLimit.
func ConvertUp(set []byte, r *UpRules) ([]byte, error) {
	first, err := checkSet(set, r)
	if err != nil {
		return nil, err
	}
	codec, level := first.codec, DefaultLevel
	if r.Recompress {
		codec, level = r.Codec, r.Level
	}
	var room int64
	if first.codec == None {
		room = r.Codecs.enterBytes(len(set))
	} else {
		room = r.Codecs.enter(first.codec, inside(&Header{Magic: first.magic, Attributes: int16(first.codec)}, first.whole))
	}
	defer r.Codecs.leave(room)
	u := upgrade{b: NewBuilder(BuilderOptions{Codec: codec, Level: level, Codecs: r.Codecs, LeaderEpoch: Absent})}
	if first.codec == None {
		u.b.reserve(len(set))
		err = u.addAll(set)
	} else {
		err = u.addWrapped(&first, r.Codecs)
	}
	if err != nil {
		return nil, err
	}
	out, err := u.b.Bytes()
	if err == nil && u.logAppendTime {
		SetMaxTimestamp(out, true, u.b.maxTimestamp)
	}
	return out, err
}

// checkSet judges the messages of a set from outside, before any is opened, and
// returns the first.
func checkSet(set []byte, r *UpRules) (first legacyMessage, err error) {
	n, compressed := 0, false
	for rest := set; ; n++ {
		var m legacyMessage
		m, rest, err = nextMessage(rest)
		if errors.Is(err, ErrShort) {
			break
		}
		if err != nil {
			return first, err
		}
		if n == 0 {
			first = m
		}
		switch {
		case m.magic != first.magic:
			return first, fmt.Errorf("%w: formats %d and %d in one message set", ErrInvalidRecord, first.magic, m.magic)
		case len(m.whole) > r.MaxBytes:
			return first, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(m.whole), r.MaxBytes)
		case !checkLegacyCRC(m.whole):
			return first, fmt.Errorf("%w: checksum of message %d", ErrCorrupt, n)
		}
		compressed = compressed || m.codec != None
	}
	if n == 0 {
		return first, ErrShort
	}
	if compressed && n > 1 {
		return first, fmt.Errorf("%w: %d messages, of which one is compressed", ErrInvalidRecord, n)
	}
	return first, nil
}

// upgrade collects records in a batch.
type upgrade struct {
	b             *Builder
	logAppendTime bool
}

// addAll adds the messages of a set, which checkSet has walked.
func (u *upgrade) addAll(set []byte) error {
	for {
		m, rest, err := nextMessage(set)
		if err != nil {
			return nil // the part of one at the end
		}
		set = rest
		key, value, err := m.keyValue()
		if err != nil {
			return err
		}
		if err := u.add(&m, m.timestamp, key, value); err != nil {
			return err
		}
	}
}

// addWrapped adds the messages inside w.
func (u *upgrade) addWrapped(w *legacyMessage, c *Codecs) error {
	_, value, err := w.keyValue()
	if err != nil {
		return err
	}
	if w.codec == Zstd {
		return fmt.Errorf("%w: zstd in message format %d", ErrInvalidRecord, w.magic)
	}
	inside, err := decompressWrapper(value, &Header{Magic: w.magic, Attributes: int16(w.codec)}, c)
	if err != nil {
		return err
	}
	u.b.reserve(len(inside))
	last := int64(Absent)
	for n := 0; len(inside) > 0; n++ {
		var m legacyMessage
		m, inside, err = nextMessage(inside)
		switch {
		case errors.Is(err, ErrShort):
			return fmt.Errorf("%w: message %d inside is cut short", ErrInvalidRecord, n)
		case err != nil:
			return err
		case m.magic != w.magic || m.codec != None:
			return fmt.Errorf("%w: message %d inside has format %d and is compressed as %s", ErrInvalidRecord, n, m.magic, m.codec)
		case !checkLegacyCRC(m.whole):
			return fmt.Errorf("%w: checksum of message %d inside", ErrCorrupt, n)
		}
		key, value, err := m.keyValue()
		if err != nil {
			return err
		}
		ts := m.timestamp
		if w.logAppendTime {
			ts = w.timestamp
		}
		if err := u.add(w, ts, key, value); err != nil {
			return err
		}
		last = m.offset
	}
	switch {
	case u.b.Count() == 0:
		return fmt.Errorf("%w: nothing inside a compressed message", ErrInvalidRecord)
	case w.magic == 1 && w.offset != 0 && w.offset < last:
		// Offsets inside are relative, and the wrapper has the last one's or, by
		// some versions of librdkafka, 0.
		return fmt.Errorf("%w: a wrapper with offset %d around one with %d", ErrInvalidRecord, w.offset, last)
	}
	return nil
}

// add adds one record; of is the message, or the wrapper that it was in.
func (u *upgrade) add(of *legacyMessage, ts int64, key, value []byte) error {
	if ts < Absent {
		return fmt.Errorf("%w: %d", ErrInvalidTimestamp, ts)
	}
	if of.logAppendTime {
		if ts == Absent {
			return fmt.Errorf("%w: LogAppendTime set by a producer, and no time", ErrInvalidTimestamp)
		}
		u.logAppendTime = true
	}
	u.b.Append(ts, key, value)
	return nil
}

// legacyMessage is a message as a client sent it: unlike Header it takes any
// offset, since clients write what they like there.
type legacyMessage struct {
	offset        int64
	magic         int8
	codec         Codec // may be one that does not exist
	logAppendTime bool
	timestamp     int64 // -1 in format 0
	whole         []byte
}

// nextMessage splits the first message off b. It fails with ErrShort at the end
// and where only a part is left, and with ErrCorrupt for bytes that can't be a
// message of format 0 or 1; a batch of magic 2 is ErrInvalidRecord.
func nextMessage(b []byte) (m legacyMessage, rest []byte, err error) {
	if len(b) < MinParse {
		return m, b, ErrShort
	}
	length := int32(binary.BigEndian.Uint32(b[posLength:]))
	m.magic = int8(b[posMagic])
	body := legacyPosBody0
	switch m.magic {
	case 0:
	case 1:
		body = legacyPosBody1
	case 2:
		return m, b, fmt.Errorf("%w: a batch of magic 2 among old messages", ErrInvalidRecord)
	default:
		return m, b, fmt.Errorf("%w: magic %d", ErrCorrupt, m.magic)
	}
	if int(length) < body+8-LengthPrefix {
		return m, b, fmt.Errorf("%w: message length %d", ErrCorrupt, length)
	}
	if int64(length) > int64(len(b)-LengthPrefix) {
		return m, b, ErrShort
	}
	end := LengthPrefix + int(length)
	m.whole = b[:end:end]
	m.offset = int64(binary.BigEndian.Uint64(b))
	attributes := int16(b[legacyPosAttributes])
	m.codec = Codec(attributes & AttrCodecMask)
	m.timestamp = Absent
	if m.magic == 1 {
		m.logAppendTime = attributes&AttrLogAppendTime != 0
		m.timestamp = int64(binary.BigEndian.Uint64(b[legacyPosTimestamp:]))
	}
	return m, b[end:], nil
}

func (m *legacyMessage) keyValue() (key, value []byte, err error) {
	return legacyKeyValue(m.whole, &Header{Magic: m.magic, BaseOffset: m.offset})
}
