package protocol

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzLogEndsRequest(f *testing.F) {
	seed := LogEndsRequest{Partitions: []LogEndsRequestPartition{{TopicID: [16]byte{1}, Partition: 3, LeaderEpoch: 9}}}
	f.Add(seed.AppendTo(nil))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r LogEndsRequest
		if err := r.ReadFrom(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got := r.AppendTo(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
	})
}

func FuzzLogEndsResponse(f *testing.F) {
	seed := LogEndsResponse{Partitions: []LogEndsResponsePartition{{ErrorCode: 74, LastEpoch: -1, End: 5, Committed: 4}}}
	f.Add(seed.AppendTo(nil))
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r LogEndsResponse
		if err := r.ReadFrom(b); err != nil {
			if !errors.Is(err, ErrAnswer) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got := r.AppendTo(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
	})
}
