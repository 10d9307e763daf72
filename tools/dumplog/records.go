package dumplog

import (
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// log prints the batches of a segment, and their records if asked.
func (d *dumper) log(file string) error {
	base, err := baseOffset(file)
	if err != nil {
		return err
	}
	f, err := d.fs.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	d.printf("Log starting offset: %d\n", base)
	size, err := f.Size()
	if err != nil {
		return err
	}
	limit := min(size, d.o.MaxBytes)
	deep := d.o.DeepIteration || d.data()
	last := int64(-1)
	pos, err := eachBatch(f, 0, limit, func(pos int64, h *batch.Header, b []byte) bool {
		d.batch(pos, h, b)
		if deep {
			last = d.records(file, h, b, last)
		}
		return true
	})
	if err != nil {
		return err
	}
	if pos < limit && limit == size {
		d.printf("Found %d invalid bytes at the end of %s\n", size-pos, file[strings.LastIndexByte(file, '/')+1:])
	}
	return nil
}

// data tells whether keys and values are to be printed.
func (d *dumper) data() bool {
	return d.o.PrintDataLog || d.o.OffsetsDecoder != nil || d.o.TransactionLogDecoder || d.o.KeyDecoder != nil || d.o.ValueDecoder != nil
}

// eachBatch calls fn for the batches in [pos, limit) of f until it returns false
// or something is there that is no batch, and returns where that was.
func eachBatch(f vfs.File, pos, limit int64, fn func(pos int64, h *batch.Header, b []byte) bool) (int64, error) {
	var head [batch.HeaderSize]byte
	var b []byte
	for pos < limit {
		n, err := f.ReadAt(head[:min(int64(len(head)), limit-pos)], pos)
		if err != nil && err != io.EOF {
			return pos, err
		}
		h, err := batch.ParseHeader(head[:n])
		if err != nil || int64(h.Size()) > limit-pos {
			return pos, nil
		}
		if cap(b) < h.Size() {
			b = make([]byte, h.Size())
		}
		b = b[:h.Size()]
		if n, err := f.ReadAt(b, pos); n < len(b) {
			return pos, err
		}
		if !fn(pos, &h, b) {
			return pos, nil
		}
		pos += int64(h.Size())
	}
	return pos, nil
}

func timestampType(h *batch.Header) string {
	switch {
	case h.Magic == 0:
		return "NoTimestampType"
	case h.LogAppendTime():
		return "LogAppendTime"
	}
	return "CreateTime"
}

func (d *dumper) batch(pos int64, h *batch.Header, b []byte) {
	if h.Magic >= 2 {
		d.printf("baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %v isControl: %v deleteHorizonMs: %s",
			h.BaseOffset, h.LastOffset(), h.Count, h.BaseSequence, h.LastSequence(), h.ProducerID, h.ProducerEpoch,
			h.LeaderEpoch, h.Transactional(), h.Control(), optional(h.BaseTimestamp, h.HasDeleteHorizon()))
	} else {
		d.printf("offset: %d", h.LastOffset())
	}
	d.printf(" position: %d %s: %d size: %d magic: %d compresscodec: %s crc: %d isvalid: %v\n",
		pos, timestampType(h), h.MaxTimestamp, h.Size(), h.Magic, h.Codec(), h.CRC, batch.CheckCRC(b))
}

// records prints the records of a batch and returns the last offset, of which
// the one before was last.
func (d *dumper) records(file string, h *batch.Header, b []byte, last int64) int64 {
	if h.Magic < 2 && h.Codec() != batch.None {
		return d.wrapped(file, h, b, last)
	}
	for r, err := range batch.Records(b, d.codecs) {
		if err != nil {
			d.complain("Error in the batch at offset %d: %v", h.BaseOffset, err)
			break
		}
		d.record(h, b, &r)
		last = d.follow(file, last, r.Offset)
	}
	return last
}

// wrapped prints the messages inside a legacy wrapper, with their own checksums.
func (d *dumper) wrapped(file string, h *batch.Header, b []byte, last int64) int64 {
	set, add, err := batch.OpenWrapper(b, h, d.codecs)
	if err != nil {
		d.complain("Error in the message at offset %d: %v", h.BaseOffset, err)
		return last
	}
	for len(set) > 0 {
		ih, message, rest, err := batch.Next(set)
		if err != nil {
			d.complain("Error in the message at offset %d: %v", h.BaseOffset, err)
			break
		}
		set = rest
		for r, err := range batch.Records(message, nil) {
			if err != nil {
				d.complain("Error in the message at offset %d: %v", h.BaseOffset, err)
				return last
			}
			r.Offset += add
			if h.LogAppendTime() {
				r.Timestamp = h.MaxTimestamp
			}
			d.record(&ih, message, &r)
			last = d.follow(file, last, r.Offset)
		}
	}
	return last
}

func (d *dumper) follow(file string, last, offset int64) int64 {
	if last != -1 && offset != last+1 {
		d.wrong.add(&d.wrong.gaps, file, last, offset)
	}
	return offset
}

// record prints one record of the batch or message b.
func (d *dumper) record(h *batch.Header, b []byte, r *batch.Record) {
	prefix := "| "
	if !d.o.SkipRecordMetadata {
		d.printf("| offset: %d %s: %d keySize: %d valueSize: %d", r.Offset, timestampType(h), r.Timestamp, size(r.Key), size(r.Value))
		prefix = " "
		if h.Magic >= 2 {
			d.printf(" sequence: %d headerKeys: %s", sequence(h, r), headerKeys(r))
		} else {
			d.printf(" isValid: %v crc: %d}", batch.CheckCRC(b), h.CRC) // the brace is Kafka's
		}
		if h.Control() {
			d.control(r)
		}
	}
	if d.data() && !h.Control() {
		key, payload := d.text(r)
		if key != nil {
			d.printf("%skey: %s", prefix, *key)
		}
		if payload != nil {
			d.printf(" payload: %s", *payload)
		}
	}
	d.printf("\n")
}

func size(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func sequence(h *batch.Header, r *batch.Record) int32 {
	if h.BaseSequence == batch.Absent {
		return batch.Absent
	}
	return batch.AddSequence(h.BaseSequence, int32(r.Offset-h.BaseOffset))
}

func headerKeys(r *batch.Record) string {
	keys := make([]string, len(r.Headers))
	for i, h := range r.Headers {
		keys[i] = text(h.Key)
	}
	return "[" + strings.Join(keys, ",") + "]"
}

func (d *dumper) control(r *batch.Record) {
	kind, err := batch.ParseControlType(r.Key)
	if err != nil {
		d.printf(" controlType: UNKNOWN")
		return
	}
	if _, epoch, ok, err := batch.ParseMarker(r); ok && err == nil {
		d.printf(" endTxnMarker: %s coordinatorEpoch: %d", kind, epoch)
		return
	}
	d.printf(" controlType: %s", kind)
}

// text is what is shown of key and value; nil is nothing.
func (d *dumper) text(r *batch.Record) (key, payload *string) {
	show := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	switch {
	case d.o.OffsetsDecoder != nil:
		k, p := d.o.OffsetsDecoder(r.Offset, r.Key, r.Value)
		return show(k), show(p)
	case d.o.TransactionLogDecoder:
		k, p := transactionText(r.Key, r.Value)
		return show(k), show(p)
	}
	return decoded(r.Key, d.o.KeyDecoder), decoded(r.Value, d.o.ValueDecoder)
}

// decoded is the text of a key or value: nil if there is none, the reason where it is
// none of the decoder's (with which Kafka's tool ends).
func decoded(b []byte, by Decoder) *string {
	if b == nil {
		return nil
	}
	if by == nil {
		by = decoders["StringDecoder"]
	}
	s, err := by(b)
	if err != nil {
		s = "<" + err.Error() + ">"
	}
	return &s
}

// text is UTF-8, with what is none replaced as Java does.
func text(b []byte) string { return string([]rune(string(b))) }

// transactionText is kafka.coordinator.transaction.TransactionLog's
// formatRecordKeyAndValue.
func transactionText(key, value []byte) (string, string) {
	var k kmsg.TxnMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return fmt.Sprintf("unknown::%d bytes", len(key)), ""
	}
	if k.Version != 0 {
		return fmt.Sprintf("unknown::version=%d", k.Version), ""
	}
	keyText := "transaction_metadata::transactionalId=" + k.TransactionalID
	if value == nil {
		return keyText, "<DELETE>"
	}
	var v kmsg.TxnMetadataValue
	if err := v.ReadFrom(value); err != nil {
		return keyText, fmt.Sprintf("unknown::%d bytes", len(value))
	}
	var partitions []string
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			partitions = append(partitions, fmt.Sprintf("%s-%d", t.Topic, p))
		}
	}
	return keyText, fmt.Sprintf("producerId:%d,producerEpoch:%d,state=%s,partitions=[%s],txnLastUpdateTimestamp=%d,txnTimeoutMs=%d",
		v.ProducerID, v.ProducerEpoch, v.State, strings.Join(partitions, ","), v.LastUpdateTimestamp, v.TimeoutMillis)
}
