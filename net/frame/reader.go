package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"barnabas/internal/buf"
)

const (
	prefix = 4 // bytes of the length
	// firstRead is how much is read at once from a connection of which nothing
	// is known yet.
	firstRead = 4 << 10
	// maxFirstRead bounds what the last frame's size makes the next read take.
	maxFirstRead = 256 << 10
	// exactFrom is the frame size from which a read takes nothing of the next
	// frame, because moving that to the front again would cost more.
	exactFrom = 16 << 10
	// growth is how many times what has arrived a buffer may be large.
	growth = 4
)

// ErrTooLarge is wrapped by the error of a frame whose length is not within
// 1 … the maximum.
var ErrTooLarge = errors.New("frame: bad length")

// ErrWouldWait is TryNext's: Next is to be called.
var ErrWouldWait = errors.New("frame: the frame has to wait")

// errNothing ends a try: nothing has come.
var errNothing = errors.New("frame: nothing to read")

// Reader reads frames from one connection. It is used by one goroutine.
type Reader struct {
	conn net.Conn
	raw  syscall.RawConn // nil if conn has no descriptor
	pool *buf.Pool
	max  int

	buf  *buf.Buf // nil while nothing is held
	r    int      // buf.B[r:] is unread
	hint int      // size of the last frame

	claim    *claim // nil without a budget
	claimed  bool   // claim may hold something
	arriving bool   // the claim knows that a frame arrives
	progress bool   // see Progress

	// Of the read under way.
	limit   int // read at most so many bytes
	n       int
	err     error
	trying  bool                  // by TryNext
	readRaw func(fd uintptr) bool // f.tryRead, made once
	tryRaw  func(fd uintptr)      // f.tryRead for a RawConn's Control
	again   bool                  // tryRaw found nothing
	drained bool                  // the last read of a try took all there was
}

// NewReader reads frames of at most max bytes, not counting the prefix.
func NewReader(conn net.Conn, pool *buf.Pool, max int) *Reader {
	f := &Reader{conn: conn, pool: pool, max: max}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			f.raw = raw
			f.readRaw = f.tryRead
			f.tryRaw = func(fd uintptr) { f.again = !f.tryRead(fd) }
		}
	}
	return f
}

// Share makes the reader take its memory from b. p.Evict is called if a frame is
// too slow (see ErrSlow). It is called before the first Next.
func (f *Reader) Share(b *Budget, p Peer) { f.claim = newClaim(b, p) }

// Complete says that the last frame waits for nothing that its peer has to do.
// Until then it may be too slow, see ErrSlow.
func (f *Reader) Complete() {
	if f.arriving {
		f.claim.complete()
		f.arriving = false
	}
}

// Progress reports whether bytes have arrived, or memory was waited for, since
// it was asked last. A read deadline may pass though the peer was busy.
func (f *Reader) Progress() bool {
	p := f.progress
	f.progress = false
	return p
}

// Next returns the next frame without its prefix, valid until the next call of
// a method. io.EOF means that the peer closed between frames.
func (f *Reader) Next() ([]byte, error) {
	if err := f.fill(prefix); err != nil {
		return nil, err
	}
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	if err := f.fill(prefix + size); err != nil {
		return nil, err
	}
	return f.cut(size), nil
}

// cut takes the frame of size bytes, which is there, out of the buffer.
func (f *Reader) cut(size int) []byte {
	f.hint = prefix + size
	body := f.buf.B[f.r+prefix : f.r+prefix+size : f.r+prefix+size]
	f.r += prefix + size
	return body
}

// TryNext is Next that does not wait: ok is false if no whole frame is there yet.
// ErrWouldWait means that the frame has to wait for memory, or is of more than most
// bytes: Next goes on with it.
func (f *Reader) TryNext(most int) (body []byte, ok bool, err error) {
	if f.raw == nil {
		return nil, false, ErrWouldWait
	}
	f.trying = true
	defer func() { f.trying = false }()
	err = f.fill(prefix)
	size := 0
	if err == nil {
		if size, err = f.size(); err == nil && size > most {
			err = ErrWouldWait
		}
	}
	if err == nil {
		err = f.fill(prefix + size)
	}
	if err == errNothing {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return f.cut(size), true, nil
}

// Hint is the size of the last frame with its prefix.
func (f *Reader) Hint() int { return f.hint }

// Partial reports whether a part of a frame is held.
func (f *Reader) Partial() bool { return f.held() > 0 }

// Buffered reports whether Next would return without reading: a whole frame is
// there, or one that Next refuses.
func (f *Reader) Buffered() bool {
	if f.held() < prefix {
		return false
	}
	size, err := f.size()
	return err != nil || f.held() >= prefix+size
}

// Release gives back the memory of the last frame, unless more has arrived
// already.
func (f *Reader) Release() {
	if f.buf != nil && f.held() == 0 {
		f.Close()
	}
}

// Close releases what is held. The connection stays open.
func (f *Reader) Close() {
	if f.buf != nil {
		f.buf.Release()
		f.buf, f.r = nil, 0
	}
	if f.claimed {
		f.claim.release()
		f.claimed, f.arriving = false, false
	}
}

// try claims n bytes if they are to be had at once.
func (f *Reader) try(n int) bool {
	if f.claim == nil || n <= exempt {
		return true
	}
	ok := f.claim.try(n)
	f.claimed, f.arriving = f.claimed || ok, f.arriving || ok
	return ok
}

func (f *Reader) held() int {
	if f.buf == nil {
		return 0
	}
	return len(f.buf.B) - f.r
}

// size is the length that the frame at the front claims.
func (f *Reader) size() (int, error) {
	n := int(int32(binary.BigEndian.Uint32(f.buf.B[f.r:])))
	if n <= 0 || n > f.max {
		return 0, fmt.Errorf("%w: %d is not within 1 and %d", ErrTooLarge, n, f.max)
	}
	return n, nil
}

// fill reads until need bytes are held.
func (f *Reader) fill(need int) error {
	for f.held() < need {
		if f.trying && f.drained {
			f.drained = false
			return errNothing
		}
		f.Release()
		if err := f.room(need); err != nil {
			return err
		}
		if err := f.read(); err != nil {
			if err == io.EOF && f.held() > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// room prepares the buffer, if one is held, for a read, and sets limit. The
// buffer grows with what has arrived, not with what is claimed; only memory that
// the pool has to spare is lent for a claim. It waits if the budget is used up,
// and fails if the connection ends meanwhile.
func (f *Reader) room(need int) error {
	held := f.held()
	if held == 0 {
		f.limit = min(max(firstRead, f.hint), maxFirstRead)
		return nil
	}
	if f.claimed && !f.arriving {
		f.claim.arriving(need)
		f.arriving = true
	}
	want := min(need, max(held*growth, firstRead))
	if need < exactFrom {
		want = max(want, firstRead)
	}
	switch {
	case cap(f.buf.B)-f.r >= want:
	case cap(f.buf.B) >= want:
		f.buf.B = f.buf.B[:copy(f.buf.B[:held], f.buf.B[f.r:])]
		f.r = 0
	default:
		next := f.pool.GetIdle(max(need, want))
		if next != nil && !f.try(max(need, want)) {
			next.Release()
			next = nil
		}
		if next == nil {
			if err := f.claimFor(want, need); err != nil {
				return err
			}
			next = f.pool.Get(want)
		}
		next.B = append(next.B, f.buf.B[f.r:]...)
		f.buf.Release()
		f.buf, f.r = next, 0
	}
	f.limit = cap(f.buf.B) - len(f.buf.B)
	if need >= exactFrom {
		f.limit = min(f.limit, need-held)
	}
	return nil
}

// claimFor waits for n bytes of the budget, of a frame of need bytes.
func (f *Reader) claimFor(n, need int) error {
	if f.claim == nil || n <= exempt {
		return nil
	}
	if f.trying && !f.claim.tryFor(n, need) {
		return ErrWouldWait
	}
	f.claimed, f.progress = true, true
	f.arriving = true
	if f.trying {
		return nil
	}
	return f.claim.get(n, need, need-f.held())
}

// read reads once, at least one byte.
func (f *Reader) read() error {
	if f.raw == nil {
		f.take()
		n, err := f.conn.Read(f.buf.B[len(f.buf.B):][:f.limit])
		f.buf.B = f.buf.B[:len(f.buf.B)+n]
		f.Release()
		if n > 0 {
			f.progress = true
			return nil
		}
		return err
	}
	f.n, f.err = 0, nil
	if f.trying {
		if err := f.raw.Control(f.tryRaw); err != nil {
			return err
		}
		f.drained = f.n < f.limit // so that the next read would find nothing
		if f.again {
			return errNothing
		}
	} else if err := f.raw.Read(f.readRaw); err != nil {
		return err
	}
	if f.err != nil {
		return f.err
	}
	if f.n == 0 {
		return io.EOF
	}
	f.progress = true
	return nil
}

// tryRead runs when the descriptor may be readable, so a connection that waits
// for its next frame holds no buffer.
func (f *Reader) tryRead(fd uintptr) bool {
	f.take()
	for {
		n, err := syscall.Read(int(fd), f.buf.B[len(f.buf.B):][:f.limit])
		switch err {
		case nil:
			f.n = n
			f.buf.B = f.buf.B[:len(f.buf.B)+n]
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			f.Release()
			return false
		default:
			f.err = err
		}
		f.Release() // only if nothing came
		return true
	}
}

// take makes sure that there is a buffer to read into, if possible one that the
// whole frame fits if it is as large as the last one.
func (f *Reader) take() {
	if f.buf != nil {
		return
	}
	if f.hint > f.limit && f.try(f.hint) {
		f.buf = f.pool.GetIdle(f.hint)
	}
	if f.buf == nil {
		if !f.try(f.limit) {
			f.limit = exempt
		}
		f.buf = f.pool.Get(f.limit)
	}
	f.r = 0
}
