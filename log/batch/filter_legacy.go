package batch

import (
	"encoding/binary"
	"fmt"
)

// ApplyLegacy filters b, one whole message of the format 0 or 1 with a right
// checksum, whose header is h; keep is as FilterOptions.Keep. Of a wrapper what
// stays is compressed anew: the messages keep their bytes and their offsets, the
// wrapper gets the offset of the last of them and, unless the broker gave it its
// time, their largest timestamp (MemoryRecords.filterTo of Kafka). It fails, as
// Records does, where the messages can't be read.
func (f *Filter) ApplyLegacy(h *Header, b []byte, keep func(offset int64, key []byte, tombstone bool) bool) (Filtered, error) {
	if h.Codec() == None {
		key, value, err := legacyKeyValue(b, h)
		if err != nil {
			return Filtered{}, err
		}
		if !keep(h.BaseOffset, key, value == nil) {
			return Filtered{Read: 1}, nil
		}
		return Filtered{Bytes: b, Unchanged: true, Header: *h, Read: 1, Kept: 1}, nil
	}
	set, add, err := OpenWrapper(b, h, f.Codecs)
	if err != nil {
		return Filtered{}, err
	}
	var res Filtered
	f.kept = f.kept[:0]
	previous, first, last, newest := int64(Absent), int64(Absent), int64(Absent), int64(Absent)
	for len(set) > 0 {
		ih, message, rest, _ := Next(set) // OpenWrapper has walked them
		set = rest
		res.Read++
		key, value, err := legacyKeyValue(message, &ih)
		if err != nil {
			return Filtered{}, err
		}
		offset := add + ih.BaseOffset
		if err := h.follows(offset, previous); err != nil {
			return Filtered{}, err
		}
		previous = offset
		if !keep(offset, key, value == nil) {
			continue
		}
		res.Kept++
		if first == Absent {
			first = offset
		}
		last, newest = offset, max(newest, ih.MaxTimestamp)
		at := len(f.kept)
		f.kept = append(f.kept, message...)
		if h.Magic == 1 { // relative; the checksum does not cover it
			binary.BigEndian.PutUint64(f.kept[at:], uint64(offset-first))
		}
	}
	switch res.Kept {
	case 0:
		return res, nil
	case res.Read:
		res.Bytes, res.Unchanged, res.Header = b, true, *h
		return res, nil
	}
	if h.LogAppendTime() {
		newest = h.MaxTimestamp
	}
	d := downgrade{h: h, r: &DownRules{Magic: h.Magic, Codecs: f.Codecs}, out: f.out[:0]}
	if err := d.appendWrapper(last, newest, f.kept); err != nil {
		return Filtered{}, err
	}
	f.out = d.out
	res.Bytes = f.out
	res.Header, err = ParseHeader(res.Bytes)
	return res, err
}

// follows tells whether a message inside a wrapper has an offset of the wrapper's own,
// behind the previous one's.
func (h *Header) follows(offset, previous int64) error {
	if offset <= previous || offset > h.BaseOffset {
		return fmt.Errorf("%w: offset %d after %d inside the message at offset %d", ErrInvalidRecord, offset, previous, h.BaseOffset)
	}
	return nil
}
