package socket

import (
	"encoding/binary"
	"time"

	"barnabas/internal/buf"
	"barnabas/internal/vfs"
	"barnabas/net/frame"
	"barnabas/protocol"
)

// Reply is what a Handler returns for a request.
type Reply struct {
	kind    replyKind
	out     *Out
	pending *Pending
	err     error

	// Set by the connection, for the time that the request took.
	slot    int8
	arrived time.Time
}

type replyKind int8

const (
	replyNone replyKind = iota
	replyOut
	replyClose
	replyParked
)

// NoReply answers nothing: a Produce with acks=0.
func NoReply() Reply { return Reply{kind: replyNone} }

// CloseConn closes the connection after the replies to earlier requests. The
// reason is logged, at a limited rate; nil is not logged.
func CloseConn(reason error) Reply { return Reply{kind: replyClose, err: reason} }

// Send is the reply of a finished Out, which belongs to the connection then.
func Send(o *Out) Reply { return Reply{kind: replyOut, out: o} }

// Parked is the reply of a request that waits.
func Parked(p *Pending) Reply { return Reply{kind: replyParked, pending: p} }

// discard releases what a reply that is not sent holds.
func (r *Reply) discard() {
	if r.out != nil {
		r.out.Discard()
	}
}

// Out is a reply under construction: bytes, and file ranges at places among
// them. Made by Request.NewOut, it ends in Send or Discard.
type Out struct {
	// B starts with the length prefix and the response header; append the body.
	B []byte

	srv    *Server
	conn   *Conn
	lease  *frame.Lease // of the memory of B, if that is large
	copied int          // how large B may become by copying, for the lease
	buf    *buf.Buf
	ranges []outRange
	size   int64 // bytes of ranges
}

// outRange is sent after the first at bytes of Out.B.
type outRange struct {
	at int
	r  vfs.Range
}

// NewOut starts a reply to r with the length prefix and the response header of
// r's version. It may be called after Serve has returned, by the gather
// function of a Pending, if r was copied.
func (r *Request) NewOut() *Out {
	o := newOut(r.Conn.srv, r.Key, r.Version, r.CorrelationID, r.Stamped)
	o.conn = r.Conn
	return o
}

func newOut(s *Server, key, version int16, correlationID int32, stamped bool) *Out {
	o, _ := s.outs.Get().(*Out)
	if o == nil {
		o = &Out{srv: s}
	}
	o.buf = s.pool.Get(0)
	if stamped && s.opt.Stamp != nil {
		o.B = protocol.AppendStampedResponseHeader(o.buf.B[:0], key, version, correlationID, s.opt.Stamp())
		return o
	}
	o.B = protocol.AppendResponseHeader(o.buf.B[:0], key, version, correlationID)
	return o
}

// AppendRange puts a piece of a file after the bytes that are there, and takes
// it over: it is released when it is sent, or at once if it is small enough to
// be copied and there is memory for that. An error is one of reading the file; the range is released then
// and o unchanged.
func (o *Out) AppendRange(r vfs.Range) error {
	if !frame.SmallRange(r.Length) || !o.mayCopy(int(r.Length)) {
		o.ranges = append(o.ranges, outRange{at: len(o.B), r: r})
		o.size += r.Length
		return nil
	}
	defer r.Release()
	n := len(o.B)
	o.Room(int(r.Length))
	o.B = o.B[:n+int(r.Length)]
	if err := frame.ReadRange(o.B[n:], r.File, r.Offset); err != nil {
		o.B = o.B[:n]
		return err
	}
	return nil
}

// Room makes place for n more bytes in B, from the pool.
func (o *Out) Room(n int) {
	if cap(o.B)-len(o.B) >= n {
		return
	}
	// Twice as much, so that many small pieces do not copy each time.
	next := o.srv.pool.Get(max(len(o.B)+n, 2*len(o.B)))
	next.B = append(next.B, o.B...)
	o.buf.B = o.B
	o.buf.Release()
	o.buf, o.B = next, next.B
}

// Len is the size of the reply so far, in bytes, with what ranges hold.
func (o *Out) Len() int64 { return int64(len(o.B)) + o.size }

// Discard releases an Out that is not sent.
func (o *Out) Discard() {
	for i := range o.ranges {
		o.ranges[i].r.Release()
	}
	clear(o.ranges)
	o.ranges = o.ranges[:0]
	o.buf.B = o.B // may have grown
	o.buf.Release()
	o.buf, o.B, o.size = nil, nil, 0
	o.lease.Release()
	o.lease, o.conn, o.copied = nil, nil, 0
	o.srv.outs.Put(o)
}

// finish writes the length prefix.
func (o *Out) finish() {
	binary.BigEndian.PutUint32(o.B, uint32(o.Len()-4))
}

// appendPieces adds what is to be sent.
func (o *Out) appendPieces(dst []frame.Piece) []frame.Piece {
	from := 0
	for i := range o.ranges {
		r := &o.ranges[i]
		if r.at > from {
			dst = append(dst, frame.Piece{Bytes: o.B[from:r.at]})
			from = r.at
		}
		dst = append(dst, frame.Piece{Range: &r.r})
	}
	if from < len(o.B) {
		dst = append(dst, frame.Piece{Bytes: o.B[from:]})
	}
	return dst
}

// Pending is a reply whose time has not come. It begins as waiting, becomes
// complete by Complete, and ends when its reply is gathered, or earlier when
// its connection dies.
type Pending struct {
	conn   *Conn
	gather func() Reply
	cancel func()
	state  pendingState // guarded by conn.mu
}

type pendingState int8

const (
	waiting pendingState = iota
	complete
	ended
)

// Park makes a Pending for r. When it is complete and all earlier replies are
// out, gather makes the reply, by any goroutine; it must not park again. If
// the connection dies first, cancel is called instead (never both). The caller
// returns Parked of the result; r and its body are invalid after that.
func (r *Request) Park(gather func() Reply, cancel func()) *Pending {
	return &Pending{conn: r.Conn, gather: gather, cancel: cancel}
}

// Complete says that the reply can be gathered. It may be called by anyone, at
// any time, more than once, and does not block.
func (p *Pending) Complete() {
	c := p.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.state != waiting {
		return
	}
	p.state = complete
	if c.writing || c.count == 0 || c.front().reply.pending != p {
		return
	}
	if c.polled != nil {
		c.polled.Post()
		return
	}
	c.work.Signal()
}
