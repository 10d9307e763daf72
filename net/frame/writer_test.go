package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"barnabas/internal/buf"
	"barnabas/internal/vfs"
)

// onceFile can be read from its begin to its end, once, as what log/downconvert
// makes.
type onceFile struct {
	vfs.File
	b  []byte
	at int64
}

func (f *onceFile) Name() string { return "once" }

func (f *onceFile) ReadAt(p []byte, off int64) (int, error) {
	if off != f.at {
		return 0, fmt.Errorf("read at %d instead of %d", off, f.at)
	}
	n := copy(p, f.b[off:])
	f.at += int64(n)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestSlowReaderOfAFileThatIsReadOnce: what the socket does not take at once is not
// read again.
func TestSlowReaderOfAFileThatIsReadOnce(t *testing.T) {
	f := &onceFile{b: make([]byte, 3<<20)}
	for i := range f.b {
		f.b[i] = byte(i >> 7)
	}
	want := append([]byte("head"), f.b...)
	pieces := []Piece{{Bytes: []byte("head")}, {Range: &vfs.Range{File: f, Length: int64(len(f.b))}}}
	for _, try := range []bool{false, true} {
		f.at = 0
		a, b := tcp(t)
		if err := errors.Join(a.(*net.TCPConn).SetReadBuffer(64<<10), b.(*net.TCPConn).SetWriteBuffer(64<<10)); err != nil {
			t.Fatal(err)
		}
		w := NewWriter(b, buf.New(), time.Minute)
		done := make(chan error, 1)
		got := make([]byte, len(want))
		go func() {
			var err error
			for at := 0; at < len(got) && err == nil; at += 10_000 {
				_, err = io.ReadFull(a, got[at:min(at+10_000, len(got))])
			}
			done <- err
		}()
		if try {
			over, err := w.Try(pieces)
			for tick := time.NewTicker(time.Millisecond); !over; over, err = w.Retry() {
				<-tick.C
			}
			if err != nil {
				t.Fatal(err)
			}
		} else if err := w.Write(pieces); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || !bytes.Equal(got, want) {
			t.Errorf("try %v: %v, or other bytes", try, err)
		}
		if w.copied != nil {
			t.Error("a buffer is kept")
		}
	}
}
