package frame

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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
	// sendMost bounds what is sent before others get their turn.
	sendMost = 1 << 20
	// joinMost is up to how many bytes pieces are copied together.
	joinMost = 32 << 10
	// sendfileChunk bounds one call of sendfile, so that the deadline is renewed.
	sendfileChunk = 1 << 20
	// writeChunk bounds one write for the same reason.
	writeChunk = 256 << 10
	// copyChunk is the piece in which a range is copied where there is no
	// sendfile. As much is held for a client that does not take it, without asking a
	// Budget.
	copyChunk = 16 << 10
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
	sent     int64 // bytes given to the system, where raw is not nil
	taken    int64 // of those, what the peer's system had when it was last looked at

	// Of the write under way.
	left   []Piece // not sent yet
	done   int64   // bytes of left[0] that are sent
	joined *buf.Buf
	copied *buf.Buf // bytes of left[0], a range, from done on
	err    error
	moved  bool                  // the last step sent something
	step   func(fd uintptr) bool // w.send, made once
	try    func(fd uintptr)      // the same for a RawConn's Control
}

// NewWriter writes to conn and fails with os.ErrDeadlineExceeded when the peer
// takes nothing for timeout (up to four times as long; 0: never).
func NewWriter(conn net.Conn, pool *buf.Pool, timeout time.Duration) *Writer {
	w := &Writer{conn: conn, pool: pool, timeout: timeout}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			w.raw = raw
			w.step = w.send
			w.try = func(fd uintptr) { w.send(fd) }
		}
	}
	return w
}

// Write sends the pieces in order. Small neighbours leave together.
func (w *Writer) Write(pieces []Piece) error {
	w.left, w.done, w.err = pieces, 0, nil
	return w.Finish()
}

// Finish is Write for what Try has left.
func (w *Writer) Finish() error {
	for len(w.left) > 0 && w.err == nil {
		if err := w.arm(); err != nil {
			w.err = err
			break
		}
		if w.raw == nil {
			w.err = w.copyPiece(&w.left[0])
			w.left = w.left[1:]
			continue
		}
		err := w.raw.Write(w.step)
		switch {
		case err == nil || w.err != nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && w.Taken():
			w.deadline = time.Time{}
		default:
			w.err = err
		}
	}
	w.end()
	return w.err
}

// Taken reports whether the peer's system has taken bytes since this was last asked,
// as far as the system here tells. It may have while there was nothing to send to: a
// socket whose buffer is full counts as writable when a third of it is free again,
// which a slow peer needs many timeouts for.
func (w *Writer) Taken() bool {
	if w.raw == nil {
		return false
	}
	queued, known := 0, false
	err := w.raw.Control(func(fd uintptr) { queued, known = unsent(int(fd)) })
	if err != nil || !known {
		return false
	}
	taken := w.sent - int64(queued)
	moved := taken > w.taken
	w.taken = taken
	return moved
}

// Try begins to send the pieces and does not wait. If done is false, Retry or Finish
// goes on; the pieces must stay until then, or until Drop.
func (w *Writer) Try(pieces []Piece) (done bool, err error) {
	w.left, w.done, w.err = pieces, 0, nil
	return w.Retry()
}

// Retry goes on with what Try has left.
func (w *Writer) Retry() (done bool, err error) {
	if w.raw == nil {
		return false, nil
	}
	if err := w.raw.Control(w.try); err != nil && w.err == nil {
		w.err = err
	}
	if w.err != nil || len(w.left) == 0 {
		w.end()
		return true, w.err
	}
	return false, nil
}

// Moved reports whether the last Try or Retry sent anything.
func (w *Writer) Moved() bool { return w.moved }

// Drop gives up what Try has left.
func (w *Writer) Drop() { w.end() }

func (w *Writer) end() {
	w.left, w.done = nil, 0
	if w.joined != nil {
		w.joined.Release()
		w.joined = nil
	}
	w.dropCopied()
}

func (w *Writer) dropCopied() {
	if w.copied != nil {
		w.copied.Release()
		w.copied = nil
	}
}

// send runs when the socket may take more. It returns false to wait, and true after
// some progress, so that the deadline is renewed.
func (w *Writer) send(fd uintptr) bool {
	w.moved = false
	for sent := 0; len(w.left) > 0 && sent < sendMost; {
		n, err := w.sendPiece(int(fd))
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return w.moved
		case err != nil:
			w.err = err
			return true
		}
		w.moved = true
		sent += n
		w.advance(int64(n))
	}
	return true
}

// sendPiece sends bytes of the first piece, joined with others if they are small.
func (w *Writer) sendPiece(fd int) (int, error) {
	p := &w.left[0]
	if p.Range == nil {
		b := w.join(p.Bytes[w.done:])
		return write(fd, b[:min(len(b), writeChunk)])
	}
	f, ok := vfs.OSFile(p.Range.File)
	if !ok || !hasSendfile {
		return w.sendCopied(fd, p.Range)
	}
	off := p.Range.Offset + w.done
	n, err := sendfile(fd, int(f.Fd()), &off, int(min(p.Range.Length-w.done, sendfileChunk)))
	switch {
	case err == unix.EINTR || err == unix.EAGAIN:
	case err != nil:
		err = fmt.Errorf("frame: sendfile: %w", err)
	case n == 0:
		err = fmt.Errorf("%w: %s at %d, %d bytes missing", ErrShortRange, p.Range.File.Name(), off, p.Range.Length-w.done)
	}
	return n, err
}

// write is write(2). EINTR and EAGAIN are returned as they are.
func write(fd int, b []byte) (int, error) {
	n, err := syscall.Write(fd, b)
	if err != nil && err != unix.EINTR && err != unix.EAGAIN {
		err = fmt.Errorf("frame: %w", os.NewSyscallError("write", err))
	}
	return n, err
}

// sendCopied sends the next bytes of a range of a file that has no descriptor. What
// the socket does not take is kept: some of these files can be read only once, from
// their begin to their end.
func (w *Writer) sendCopied(fd int, r *vfs.Range) (int, error) {
	if w.copied == nil {
		size := min(r.Length-w.done, copyChunk)
		w.copied = w.pool.Get(int(size))
		w.copied.B = w.copied.B[:size]
		if err := ReadRange(w.copied.B, r.File, r.Offset+w.done); err != nil {
			return 0, err
		}
	}
	n, err := write(fd, w.copied.B)
	switch {
	case err != nil:
	case n < len(w.copied.B):
		// What is left moves to the front, so that the pool gets the whole buffer back.
		w.copied.B = w.copied.B[:copy(w.copied.B, w.copied.B[n:])]
	default:
		w.dropCopied()
	}
	return n, err
}

// join puts first, the rest of the first piece, and the small pieces of bytes that
// follow into one buffer, so that one call sends them. left has them as one piece
// then.
func (w *Writer) join(first []byte) []byte {
	n, total := 1, len(first)
	for n < len(w.left) && w.left[n].Range == nil && total+len(w.left[n].Bytes) <= joinMost {
		total += len(w.left[n].Bytes)
		n++
	}
	if n == 1 || w.joined != nil {
		return first
	}
	w.joined = w.pool.Get(total)
	w.joined.B = append(w.joined.B, first...)
	for i := 1; i < n; i++ {
		w.joined.B = append(w.joined.B, w.left[i].Bytes...)
	}
	w.left = w.left[n-1:]
	w.left[0] = Piece{Bytes: w.joined.B}
	w.done = 0
	return w.joined.B
}

// advance notes that n bytes of the first piece are sent.
func (w *Writer) advance(n int64) {
	w.sent += n
	w.done += n
	p := &w.left[0]
	size := int64(len(p.Bytes))
	if p.Range != nil {
		size = p.Range.Length
	}
	if w.done < size {
		return
	}
	if w.joined != nil && p.Range == nil {
		w.joined.Release()
		w.joined = nil
	}
	w.left, w.done = w.left[1:], 0
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
	w.Taken()
	return w.conn.SetWriteDeadline(w.deadline)
}

// copyPiece sends a piece where there is no descriptor.
func (w *Writer) copyPiece(p *Piece) error {
	if p.Range != nil {
		return w.copyRange(p.Range)
	}
	for b := p.Bytes; len(b) > 0; {
		if err := w.arm(); err != nil {
			return err
		}
		n, err := w.conn.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
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
