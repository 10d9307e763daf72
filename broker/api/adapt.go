package api

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/net/frame"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// Call is what a handler may want to know about its caller.
type Call struct {
	Key, Version int16
	ClientID     string
	// Listener is the name of the listener that the client came through.
	Listener string
	// RemoteHost is the client's address without the port.
	RemoteHost string
	// Streams: a Produce or Fetch has come by this connection. The next ones would
	// wait behind an answer that is held back.
	Streams bool
}

// entry is one line of the table.
type entry struct {
	key int16
	// min and max are the versions that are served and advertised.
	min, max int16
	serve    func(a *API, ctx context.Context, r *socket.Request) socket.Reply
}

// adapt makes a handler of kmsg's types fit the table.
func adapt[Req kmsg.Request, Resp kmsg.Response](
	newRequest func() Req,
	handle func(a *API, ctx context.Context, c *Call, req Req) Resp,
) func(*API, context.Context, *socket.Request) socket.Reply {
	return func(a *API, ctx context.Context, r *socket.Request) socket.Reply {
		elements, lease, err := a.enter(r)
		if err != nil {
			return socket.CloseConn(err)
		}
		defer func() { lease.Release() }() // unless the reply has it
		req := newRequest()
		body, err := decode(req, r)
		if err != nil {
			return socket.CloseConn(err)
		}
		r.Release()
		if keepsBody(r.Key) {
			if !a.kept.add(body) {
				reply, _ := respond(r, a.kept.noRoom(req, len(body)), nil)
				return reply
			}
			lease.Release()
			lease = nil
		}
		resp := handle(a, ctx, &Call{
			Key: r.Key, Version: r.Version, ClientID: r.ClientID,
			Listener: r.Conn.Listener(), RemoteHost: r.Conn.RemoteHost(), Streams: r.Conn.Streams(),
		}, req)
		var none Resp
		if any(resp) == any(none) {
			return socket.CloseConn(nil)
		}
		given := lease
		lease = nil
		reply, size := respond(r, resp, given)
		if !keepsBody(r.Key) { // they have no lease to be weighed for
			a.sizes.note(r.Key, elements, size)
		}
		return reply
	}
}

// decode decodes a body whose structure was checked. The bytes of the result are
// its own: kmsg lets them alias what it decodes, which is the copy that is returned.
func decode(req kmsg.Request, r *socket.Request) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: decoding %s version %d: %v", protocol.ErrMalformed, protocol.KeyName(r.Key), r.Version, p)
		}
	}()
	req.SetVersion(r.Version)
	body = bytes.Clone(r.Body)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w: %s version %d: %v", protocol.ErrMalformed, protocol.KeyName(r.Key), r.Version, err)
	}
	return body, nil
}

// respond encodes an answer in the version of its request, of size bytes. The reply
// keeps the lease until it is sent, as much of it as it needs.
func respond(r *socket.Request, resp kmsg.Response, lease *frame.Lease) (reply socket.Reply, size int) {
	resp.SetVersion(r.Version)
	out := r.NewOut()
	out.B = resp.AppendTo(out.B)
	size = len(out.B)
	r.Charge(out, lease)
	return socket.Send(out), size
}
