package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"barnabas/internal/buf"
	"barnabas/internal/slowpeer"
	"barnabas/internal/vfs"
)

// pieces is a connection without a descriptor, which gives its bytes in pieces
// of the sizes named, over and over.
type pieces struct {
	net.Conn
	data  []byte
	sizes []byte
	reads int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.sizes) > 0 {
		n += int(p.sizes[p.reads%len(p.sizes)])
	}
	p.reads++
	n = copy(b, p.data[:min(n, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

// FuzzReader: however the bytes arrive, the frames are those of a plain parser,
// and what is held stays in proportion to what has arrived.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01a\x00\x00\x00\x03bcd"), []byte{0})
	f.Add([]byte("\x00\x00\x00\x00"), []byte{3})
	f.Add([]byte("\x00\x00\x10\x01abc"), []byte{3, 200})
	f.Add(append([]byte{0, 0, 0x0f, 0xff}, make([]byte, 5000)...), []byte{255})
	const max = 4096
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		r := NewReader(&pieces{data: data, sizes: sizes}, buf.New(), max)
		defer r.Close()
		for rest := data; ; {
			got, err := r.Next()
			if r.buf != nil && cap(r.buf.B) > growth*len(data)+2*firstRead {
				t.Fatalf("%d bytes held for %d", cap(r.buf.B), len(data))
			}
			if len(rest) < prefix {
				if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[len(rest) == 0]; err != want {
					t.Fatalf("got %v, want %v", err, want)
				}
				return
			}
			n := int64(int32(binary.BigEndian.Uint32(rest)))
			switch {
			case n <= 0 || n > max:
				if !errors.Is(err, ErrTooLarge) {
					t.Fatalf("got %v, want ErrTooLarge", err)
				}
				return
			case int64(len(rest)-prefix) < n:
				if err != io.ErrUnexpectedEOF {
					t.Fatalf("got %v, want an early end", err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, rest[prefix:prefix+n]) {
				t.Fatalf("got %q, %v, want %q", got, err, rest[prefix:prefix+n])
			}
			rest = rest[prefix+n:]
		}
	})
}

// tcp returns both ends of a connection over loopback.
func tcp(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestClaimedLengthIsNotAllocated: 100 MiB are claimed, 10 bytes come.
func TestClaimedLengthIsNotAllocated(t *testing.T) {
	a, b := tcp(t)
	r := NewReader(b, buf.New(), 100<<20)
	defer r.Close()
	if _, err := a.Write([]byte("\x06\x40\x00\x00abcdef")); err != nil {
		t.Fatal(err)
	}
	if err := b.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if n := cap(r.buf.B); n > 8<<10 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestIdleHoldsNothing: a connection between frames has no buffer, even after a
// large frame, and a deadline in the middle of a frame loses nothing.
func TestIdleHoldsNothing(t *testing.T) {
	a, b := tcp(t)
	r := NewReader(b, buf.New(), 100<<20)
	defer r.Close()
	large := append([]byte{0, 0x20, 0, 0}, make([]byte, 2<<20)...)
	go a.Write(large)
	got, err := r.Next()
	if err != nil || len(got) != 2<<20 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for range 2 {
		if err := b.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
	if r.buf != nil {
		t.Errorf("%d bytes are held while idle", cap(r.buf.B))
	}
	for _, part := range []string{"\x00\x00", "\x00\x03a"} {
		if _, err := a.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if err := b.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %q: got %v", part, err)
		}
	}
	if err := b.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("bc")); err != nil {
		t.Fatal(err)
	}
	if got, err = r.Next(); err != nil {
		t.Fatal(err)
	}
	if string(got) != "abc" {
		t.Errorf("got %q, %v", got, err)
	}
	a.Close()
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

// TestSlowButAlive: a peer that takes a large range slowly is not cut off as
// long as it takes something.
func TestSlowButAlive(t *testing.T) {
	const size = 24 << 20
	f, err := vfs.OS.Create(t.TempDir() + "/range")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	r := &vfs.Range{File: f, Length: size}
	// A busy machine may stop either side for longer than the timeout: then it is tried
	// with a longer one.
	for timeout := 40 * time.Millisecond; ; timeout *= 4 {
		a, b := tcp(t)
		w := NewWriter(b, buf.New(), timeout)
		done := make(chan error, 1)
		go func() {
			err := w.Write([]Piece{{Bytes: []byte("head")}, {Range: r}})
			if err != nil {
				b.Close()
			}
			done <- err
		}()
		err := slowpeer.Read(a, size+4, timeout)
		if e := <-done; e != nil {
			err = e
		}
		if err != nil && timeout < 3*time.Second {
			t.Logf("with a timeout of %v: %v", timeout, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// Far more than both systems' buffers have grown to.
		if err := w.Write(slices.Repeat([]Piece{{Range: r}}, 20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nobody reads: got %v", err)
		}
		return
	}
}
