package protocol

import (
	"bytes"
	"testing"
)

func FuzzSuspect(f *testing.F) {
	f.Add(AppendSuspect(nil, 7, 1<<40))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, epoch, err := ParseSuspect(b)
		if err != nil {
			if len(b) >= suspectSize {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		if got := AppendSuspect(nil, id, epoch); !bytes.Equal(got, b[:suspectSize]) {
			t.Errorf("%x came back as %x", b, got)
		}
	})
}
