package socket

import (
	"context"
	"time"
)

// Request is one request of a connection. It is valid until Serve returns,
// since the connection uses it again for the next one; a copy keeps all but
// the Body.
type Request struct {
	Key, Version  int16
	CorrelationID int32
	// ClientID is empty if the client sent null. The string does not alias the
	// frame.
	ClientID string
	// Body is what follows the header, valid until Serve returns or Release is
	// called.
	Body []byte
	Conn *Conn
	// Arrived is when the bytes of the request were complete.
	Arrived time.Time
	// Stamped: it came from another broker that said how far it has read; so does
	// the answer.
	Stamped bool
	// Follower is set by the handler of a Fetch that comes from another broker,
	// which is counted apart.
	Follower bool
}

// Handler serves requests.
type Handler interface {
	// Serve runs on the goroutine of the request's connection. For keys that
	// overlap it must not block after its effects are done: it parks. ctx ends
	// when the connection or the server closes.
	Serve(ctx context.Context, r *Request) Reply
}

// Overlaps reports whether requests of this key may be served while earlier
// ones of the connection are still unanswered: Produce and Fetch.
func Overlaps(key int16) bool { return key == 0 || key == 1 }

// Release ends the life of Body early, so that its memory serves others while
// this request blocks. Only Serve may call it.
func (r *Request) Release() {
	r.Body = nil
	r.Conn.reader.Release()
}
