package socket

import (
	"barnabas/internal/buf"
	"barnabas/internal/vfs"
)

// Reply is what a Handler returns for a request.
type Reply struct {
	kind    replyKind
	out     *Out
	pending *Pending
	err     error
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

// Parked is the reply of a request that waits.
func Parked(p *Pending) Reply { return Reply{kind: replyParked, pending: p} }

// Out is a reply under construction: bytes, and file ranges at places among
// them. Made by Request.NewOut, it ends in Send or Discard.
type Out struct {
	// B starts with the length prefix and the response header; append the body.
	B []byte

	buf    *buf.Buf
	ranges []outRange
	size   int64 // bytes of ranges
}

// outRange is sent after the first at bytes of Out.B.
type outRange struct {
	at int
	r  vfs.Range
}

// Pending is a reply whose time has not come.
type Pending struct {
	conn   *Conn
	gather func() Reply
	cancel func()
}
