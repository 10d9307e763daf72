package batch_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"barnabas/log/batch"
)

// opened is a message set as text, one message per line, wrappers opened.
func opened(t testing.TB, set []byte, codecs *batch.Codecs) []string {
	t.Helper()
	var lines []string
	for len(set) > 0 {
		h, whole, rest, err := batch.Next(set)
		if err != nil {
			t.Fatal(err)
		}
		if !batch.CheckCRC(whole) {
			t.Fatalf("checksum of the message at offset %d", h.BaseOffset)
		}
		if h.Codec() == batch.None {
			lines = append(lines, fmt.Sprintf("%x", whole))
		} else {
			inside, add, err := batch.OpenWrapper(whole, &h, codecs)
			if err != nil {
				t.Fatal(err)
			}
			// Of the value the begin is compared: in LZ4 it has the header's checksum.
			begin := whole[len(whole)-valueSize(t, whole, h):][:7]
			if h.Codec() != batch.LZ4 {
				begin = nil
			}
			lines = append(lines, fmt.Sprintf("%s wrapper offset %d ts %d attributes %x add %d %x: %x", h.Codec(), h.BaseOffset, h.MaxTimestamp, h.Attributes, add, begin, inside))
		}
		set = rest
	}
	return lines
}

// valueSize is the size of a wrapper's value; its key is null.
func valueSize(t testing.TB, whole []byte, h batch.Header) int {
	t.Helper()
	at := 22 + 8*int(h.Magic)
	n := int(binary.BigEndian.Uint32(whole[at:]))
	if at+4+n != len(whole) {
		t.Fatalf("the value of the wrapper at offset %d has %d bytes", h.BaseOffset, n)
	}
	return n
}

// TestAppendDownGolden: what a partition in format 2 becomes is what Kafka wrote
// for the same records into partitions in formats 0 and 1, byte for byte, but for
// what gzip and the like make of it.
func TestAppendDownGolden(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	for magic, dir := range []string{"legacy/fmt-v0-0", "legacy/fmt-v1-0"} {
		var got, want []byte
		eachBatch(t, "log-legacy", dir, func(_ batch.Header, whole []byte) { want = append(want, whole...) })
		eachBatch(t, "log-legacy", "legacy/fmt-v2-0", func(h batch.Header, whole []byte) {
			var err error
			got, err = batch.AppendDown(got, whole, &batch.DownRules{Magic: int8(magic), Codecs: codecs})
			if (err != nil) != (h.Codec() == batch.Zstd) {
				t.Fatalf("batch at %d: %v", h.BaseOffset, err)
			}
		})
		g, w := opened(t, got, codecs), opened(t, want, codecs)
		if len(g) != 240-180+18 || !slices.Equal(g, w) {
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("%s, message %d of %d and %d:\ngot  %s\nwant %s", dir, i, len(g), len(w), g[i], w[i])
				}
			}
			t.Fatalf("%s: %d messages, want %d", dir, len(g), len(w))
		}
	}
}
