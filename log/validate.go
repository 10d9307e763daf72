package log

import (
	"encoding/binary"
	"fmt"
	"time"

	"barnabas/log/batch"
)

// maxAhead is how far a header's largest timestamp may lie ahead before the
// records are asked (docs/coordination.md §11).
const maxAhead = time.Hour

// alwaysOpened is the size up to which ValidateSampled opens every compressed
// batch; of larger ones it opens one in sampleEvery, and after one that lied all
// of the next distrustAfter.
const (
	alwaysOpened  = 4 << 10
	sampleEvery   = 32
	distrustAfter = 4096
)

func (l *Log) validate(b []byte, h *batch.Header, a *appending) ([]byte, error) {
	o := l.opts.Load()
	r := batch.Rules{
		MaxBytes: o.MaxMessageBytes, Compacted: o.Compact, LogAppendTime: o.LogAppendTime, Now: a.now,
		BeforeMax: o.TimestampBeforeMax, AfterMax: o.TimestampAfterMax,
		Depth: l.depth(b, h, o, a.now), Codecs: l.o.Codecs, Partition: l.tp,
	}
	if err := batch.Validate(b, h, &r); err != nil {
		if h.Codec() != batch.None && r.Depth == batch.Full {
			l.distrust.Store(distrustAfter)
		}
		return nil, err
	}
	if o.Recompress && h.Codec() != o.Codec {
		var err error
		if b, err = l.recompress(b, h, o); err != nil {
			return nil, err
		}
	}
	if int64(len(b)) > o.SegmentBytes {
		return nil, fmt.Errorf("%w: %d bytes, segments have %d", ErrRecordListTooLarge, len(b), o.SegmentBytes)
	}
	if o.LogAppendTime {
		a.info.LogAppendTime = h.MaxTimestamp
	}
	return b, nil
}

// depth says whether a compressed batch is opened.
func (l *Log) depth(b []byte, h *batch.Header, o *Options, now time.Time) batch.Depth {
	if h.Codec() == batch.None || o.Validation == ValidateFull || o.Compact ||
		!o.LogAppendTime && h.MaxTimestamp > now.Add(maxAhead).UnixMilli() {
		return batch.Full
	}
	if o.Validation == ValidateSampled &&
		(h.Transactional() || len(b) <= alwaysOpened || l.distrusted() || l.samples.Add(1)%sampleEvery == 1) {
		return batch.Full
	}
	return batch.HeaderOnly
}

// distrusted reports whether a batch was found out not long ago. The log does
// not know who sent it, so all its writers are looked at (docs/coordination.md §11).
func (l *Log) distrusted() bool {
	return l.distrust.Load() > 0 && l.distrust.Add(-1) >= 0
}

// recompress returns the batch with the records in the topic's codec. The
// records themselves stay as they are; so does everything in the header but
// length, codec and CRC.
func (l *Log) recompress(b []byte, h *batch.Header, o *Options) (out []byte, err error) {
	err = l.o.Codecs.Opening(h.Codec(), b[batch.HeaderSize:], func() error {
		out, err = l.recompressed(b, h, o)
		return err
	})
	return out, err
}

func (l *Log) recompressed(b []byte, h *batch.Header, o *Options) ([]byte, error) {
	plain, err := l.o.Codecs.Decompress(h.Codec(), nil, b[batch.HeaderSize:], 0)
	if err != nil {
		return nil, err
	}
	level := o.Level
	if level == 0 {
		level = batch.DefaultLevel
	}
	most := batch.HeaderSize + len(plain)
	if o.Codec == batch.None && most > o.MaxMessageBytes {
		return nil, fmt.Errorf("%w: %d bytes as %s, the topic takes %d", batch.ErrTooLarge, most, o.Codec, o.MaxMessageBytes)
	}
	out := append(make([]byte, 0, min(most, o.MaxMessageBytes)), b[:batch.HeaderSize]...)
	if out, err = l.o.Codecs.Compress(o.Codec, level, out, plain); err != nil {
		return nil, err
	}
	if len(out) > o.MaxMessageBytes {
		return nil, fmt.Errorf("%w: %d bytes as %s, the topic takes %d", batch.ErrTooLarge, len(out), o.Codec, o.MaxMessageBytes)
	}
	attributes := h.Attributes&^batch.AttrCodecMask | int16(o.Codec)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-batch.LengthPrefix))
	binary.BigEndian.PutUint16(out[21:], uint16(attributes))
	batch.SetMaxTimestamp(out, h.LogAppendTime(), h.MaxTimestamp) // and the CRC
	*h, err = batch.ParseHeader(out)
	return out, err
}
