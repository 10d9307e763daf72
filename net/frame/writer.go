package frame

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"barnabas/internal/buf"
	"barnabas/internal/vfs"
)

const (
	// sendfileFrom is the length of a range from which sendfile is used; below,
	// a copy that leaves together with the bytes around it is cheaper.
	sendfileFrom = 16 << 10
	// sendfileChunk bounds one call of sendfile, so that the deadline is renewed.
	sendfileChunk = 1 << 20
	// writeChunk bounds one write for the same reason.
	writeChunk = 256 << 10
	// copyChunk is the piece in which a range is copied where there is no
	// sendfile.
	copyChunk = 64 << 10
)

// ErrShortRange means that a file ended before its range did. The frame that
// was begun can't be ended, so the connection must be closed.
var ErrShortRange = errors.New("frame: file shorter than the range to send")

// SmallRange reports whether a range of n bytes is better copied into the
// bytes around it than sent by itself.
func SmallRange(n int64) bool { return n < sendfileFrom }

// Piece is bytes, or a range of a file.
type Piece struct {
	Bytes []byte
	// Range is nil for bytes. It is not released.
	Range *vfs.Range
}

// Writer writes to one connection. It is used by one goroutine at a time. After
// an error the connection is of no use.
type Writer struct {
	conn    net.Conn
	raw     syscall.RawConn // nil if conn has no descriptor
	pool    *buf.Pool
	timeout time.Duration

	deadline time.Time
	backing  [][]byte
	vec      net.Buffers

	// Of the sendfile under way.
	src     int
	off     int64
	left    int64
	err     error
	sendRaw func(fd uintptr) bool // w.trySend, made once
}

// NewWriter writes to conn and fails with os.ErrDeadlineExceeded when the peer
// takes nothing for timeout (up to twice as long; 0: never).
func NewWriter(conn net.Conn, pool *buf.Pool, timeout time.Duration) *Writer {
	w := &Writer{conn: conn, pool: pool, timeout: timeout}
	if _, ok := conn.(*net.TCPConn); ok {
		if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
			w.raw = raw
			w.sendRaw = w.trySend
		}
	}
	return w
}

// Write sends the pieces in order. Neighbouring bytes leave together.
func (w *Writer) Write(pieces []Piece) error {
	w.backing = w.backing[:0]
	pending := 0
	for i := range pieces {
		p := &pieces[i]
		if p.Range == nil {
			w.backing = append(w.backing, p.Bytes)
			if pending += len(p.Bytes); pending < writeChunk {
				continue
			}
		}
		pending = 0
		if err := w.flush(); err != nil {
			return err
		}
		if p.Range != nil {
			if err := w.sendRange(p.Range); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// flush writes the bytes collected in backing.
func (w *Writer) flush() error {
	defer func() {
		clear(w.backing)
		w.backing = w.backing[:0]
	}()
	if len(w.backing) > 1 {
		if err := w.arm(); err != nil {
			return err
		}
		w.vec = w.backing
		_, err := w.vec.WriteTo(w.conn)
		return err
	}
	for _, b := range w.backing {
		for len(b) > 0 {
			if err := w.arm(); err != nil {
				return err
			}
			n, err := w.conn.Write(b[:min(len(b), writeChunk)])
			if err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

// arm makes sure that at least timeout is left for the next write. The timer is
// touched once per timeout at most.
func (w *Writer) arm() error {
	if w.timeout <= 0 {
		return nil
	}
	now := time.Now()
	if w.deadline.Sub(now) >= w.timeout {
		return nil
	}
	w.deadline = now.Add(2 * w.timeout)
	return w.conn.SetWriteDeadline(w.deadline)
}

func (w *Writer) sendRange(r *vfs.Range) error {
	f, ok := vfs.OSFile(r.File)
	if !ok || w.raw == nil {
		return w.copyRange(r)
	}
	w.src, w.off, w.left = int(f.Fd()), r.Offset, r.Length
	for w.left > 0 {
		if err := w.arm(); err != nil {
			return err
		}
		w.err = nil
		if err := w.raw.Write(w.sendRaw); err != nil {
			return err
		}
		if w.err != nil {
			if errors.Is(w.err, ErrShortRange) {
				return fmt.Errorf("%w: %s at %d, %d bytes missing", w.err, r.File.Name(), w.off, w.left)
			}
			return w.err
		}
	}
	return nil
}

// trySend runs when the socket may take more. It returns false to wait, and
// true after some progress, so that the deadline is renewed.
func (w *Writer) trySend(fd uintptr) bool {
	n, err := unix.Sendfile(int(fd), w.src, &w.off, int(min(w.left, sendfileChunk)))
	switch {
	case err == unix.EINTR:
		return true
	case err == unix.EAGAIN:
		return false
	case err != nil:
		w.err = fmt.Errorf("frame: sendfile: %w", err)
	case n == 0:
		w.err = ErrShortRange
	default:
		w.left -= int64(n)
	}
	return true
}

// copyRange sends a range through a buffer.
func (w *Writer) copyRange(r *vfs.Range) error {
	b := w.pool.Get(int(min(r.Length, copyChunk)))
	defer b.Release()
	for off, left := r.Offset, r.Length; left > 0; {
		p := b.B[:min(left, copyChunk)]
		if err := ReadRange(p, r.File, off); err != nil {
			return err
		}
		if err := w.arm(); err != nil {
			return err
		}
		if _, err := w.conn.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
		left -= int64(len(p))
	}
	return nil
}

// ReadRange fills p from a file. A file that ends early is ErrShortRange.
func ReadRange(p []byte, f vfs.File, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s at %d, %d bytes missing", ErrShortRange, f.Name(), off+int64(n), len(p)-n)
	}
	return fmt.Errorf("frame: read %s: %w", f.Name(), err)
}
