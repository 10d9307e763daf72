package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// oldMessage is a message of format 1.
func oldMessage(codec batch.Codec, ts int64, key, value []byte) []byte {
	b := make([]byte, 16, 64)
	b = append(b, 1, byte(codec))
	b = binary.BigEndian.AppendUint64(b, uint64(ts))
	for _, f := range [][]byte{key, value} {
		if f == nil {
			b = append(b, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

// TestAppendOldFormat: a client's message set is stored as one batch, which
// obeys what the topic wants.
func TestAppendOldFormat(t *testing.T) {
	now := time.Now().UnixMilli()
	value := []byte(strings.Repeat("K. ", 300))
	plain := append(oldMessage(batch.None, now-5, []byte("k"), value), oldMessage(batch.None, now-9, []byte("k"), value)...)
	codecs := batch.NewCodecs(batch.Limits{})
	packed, err := codecs.Compress(batch.Gzip, batch.DefaultLevel, nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	wrapper := oldMessage(batch.Gzip, now-5, nil, packed)
	for _, tc := range []struct {
		name   string
		set    []byte
		change func(*Options)
		want   error
		codec  batch.Codec
	}{
		{"as it is", plain, nil, nil, batch.None},
		{"wrapper", wrapper, nil, nil, batch.Gzip},
		{"part of one more", append(plain[:len(plain):len(plain)], plain[:40]...), nil, nil, batch.None},
		{"topic of lz4", plain, func(o *Options) { o.Recompress, o.Codec, o.Level = true, batch.LZ4, 9 }, nil, batch.LZ4},
		{"wrapper to zstd", wrapper, func(o *Options) { o.Recompress, o.Codec, o.Level = true, batch.Zstd, 3 }, nil, batch.Zstd},
		{"wrapper to nothing", wrapper, func(o *Options) { o.Recompress = true }, nil, batch.None},
		{"LogAppendTime", plain, func(o *Options) { o.LogAppendTime = true }, nil, batch.None},
		{"LogAppendTime, wrapper", wrapper, func(o *Options) { o.LogAppendTime = true }, nil, batch.Gzip},
		{"too old", plain, func(o *Options) { o.TimestampBeforeMax = time.Millisecond }, batch.ErrInvalidTimestamp, 0},
		{"a message too large", plain, func(o *Options) { o.MaxMessageBytes = 500 }, batch.ErrTooLarge, 0},
		{"each small enough, the batch too large", plain, func(o *Options) { o.MaxMessageBytes = 1000 }, batch.ErrTooLarge, 0},
		{"no key, compacted", oldMessage(batch.None, now, nil, value), func(o *Options) { o.Compact = true }, batch.ErrInvalidRecord, 0},
		{"only a part", plain[:40], nil, batch.ErrInvalidRecord, 0},
	} {
		o := DefaultOptions()
		if tc.change != nil {
			tc.change(&o)
		}
		l := openTest(t, vfs.NewMem(), o, nil)
		set := append([]byte(nil), tc.set...)
		info, err := l.AppendAsLeader(set, 7, Client)
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
			continue
		}
		if err != nil {
			if l.EndOffset() != 0 {
				t.Errorf("%s: something is stored", tc.name)
			}
			continue
		}
		if info.FirstOffset != 0 || info.LastOffset != 1 || info.Records != 2 || (info.LogAppendTime >= 0) != o.LogAppendTime {
			t.Errorf("%s: %+v", tc.name, info)
		}
		checkOldStored(t, tc.name, l, tc.codec, o.LogAppendTime, now, value)
	}
}

func checkOldStored(t *testing.T, name string, l *Log, codec batch.Codec, logAppendTime bool, now int64, value []byte) {
	t.Helper()
	r, err := l.Read(0, 1<<20, l.EndOffset(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Range.Release()
	b := make([]byte, r.Range.Length)
	if _, err := r.Range.File.ReadAt(b, r.Range.Offset); err != nil {
		t.Fatal(err)
	}
	h, whole, rest, err := batch.Next(b)
	if err != nil || len(rest) != 0 || h.Magic != 2 || h.Codec() != codec || h.LeaderEpoch != 7 || h.LogAppendTime() != logAppendTime || !batch.CheckCRC(whole) {
		t.Errorf("%s: %v, %d bytes more, %+v", name, err, len(rest), h)
	}
	var got []string
	for rec, err := range batch.Records(whole, batch.NewCodecs(batch.Limits{})) {
		if err != nil {
			t.Fatal(err)
		}
		ts := rec.Timestamp - now
		if logAppendTime {
			ts = 0
		}
		got = append(got, fmt.Sprintf("%d@%d %s %t", rec.Offset, ts, rec.Key, string(rec.Value) == string(value)))
	}
	want := "0@-5 k true, 1@-9 k true"
	if logAppendTime {
		want = "0@0 k true, 1@0 k true"
	}
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("%s: got %s, want %s", name, text, want)
	}
}

// TestRecompress: a topic's compression.type is what is stored, whatever the
// producer used; all else of a batch stays.
func TestRecompress(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	value := []byte(strings.Repeat("dear castle, ", 200))
	made := func(codec batch.Codec) []byte {
		b := batch.NewBuilder(batch.BuilderOptions{Codec: codec, Codecs: codecs, Producer: &batch.Producer{ID: 9, Epoch: 2, Sequence: 5}})
		b.Append(100, nil, value, batch.RecordHeader{Key: []byte("h")})
		b.Append(90, []byte("k"), nil)
		out, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	levels := map[batch.Codec][]int{batch.Gzip: {-1, 1, 9}, batch.LZ4: {1, 9, 17}, batch.Zstd: {-131072, 3, 22}}
	for from := batch.None; from <= batch.Zstd; from++ {
		for to := batch.None; to <= batch.Zstd; to++ {
			for _, level := range append([]int{0}, levels[to]...) {
				o := DefaultOptions()
				o.Recompress, o.Codec, o.Level = true, to, level
				l := openTest(t, vfs.NewMem(), o, nil)
				if _, err := l.AppendAsLeader(made(from), 7, Client); err != nil {
					t.Fatal(err)
				}
				r, err := l.Read(0, 1<<20, 2, true)
				if err != nil {
					t.Fatal(err)
				}
				b := make([]byte, r.Range.Length)
				if _, err := r.Range.File.ReadAt(b, r.Range.Offset); err != nil {
					t.Fatal(err)
				}
				r.Range.Release()
				h, whole, _, err := batch.Next(b)
				if err != nil || h.Codec() != to || !batch.CheckCRC(whole) || h.ProducerID != 9 || h.ProducerEpoch != 2 || h.BaseSequence != 5 || h.MaxTimestamp != 100 || h.Count != 2 {
					t.Errorf("%s to %s, level %d: %v, %+v", from, to, level, err, h)
				}
				var got []string
				for rec, err := range batch.Records(whole, codecs) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprintf("%d@%d %s %t %d", rec.Offset, rec.Timestamp, rec.Key, string(rec.Value) == string(value), len(rec.Headers)))
				}
				if text := strings.Join(got, ", "); text != "0@100  true 1, 1@90 k false 0" {
					t.Errorf("%s to %s, level %d: %s", from, to, level, text)
				}
			}
		}
	}
	o := DefaultOptions()
	o.Recompress, o.MaxMessageBytes = true, 1000 // less than it has uncompressed
	l := openTest(t, vfs.NewMem(), o, nil)
	if _, err := l.AppendAsLeader(made(batch.Zstd), 7, Client); !errors.Is(err, batch.ErrTooLarge) || l.EndOffset() != 0 {
		t.Errorf("too large after decompression: %v", err)
	}
}
