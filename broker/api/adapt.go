package api

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

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
		leave, err := a.enter(ctx, r)
		if err != nil {
			return socket.CloseConn(err)
		}
		defer leave()
		req := newRequest()
		if err := decode(req, r); err != nil {
			return socket.CloseConn(err)
		}
		r.Release()
		resp := handle(a, ctx, &Call{
			Key: r.Key, Version: r.Version, ClientID: r.ClientID,
			Listener: r.Conn.Listener(), RemoteHost: r.Conn.RemoteHost(),
		}, req)
		var none Resp
		if any(resp) == any(none) {
			return socket.CloseConn(nil)
		}
		return respond(r, resp)
	}
}

// decode checks the structure of a body and decodes it. The bytes of the
// result are its own: kmsg lets them alias what it decodes, which is a copy.
func decode(req kmsg.Request, r *socket.Request) (err error) {
	if err := protocol.CheckRequest(r.Key, r.Version, r.Body); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: decoding %s version %d: %v", protocol.ErrMalformed, protocol.KeyName(r.Key), r.Version, p)
		}
	}()
	req.SetVersion(r.Version)
	if err := req.ReadFrom(bytes.Clone(r.Body)); err != nil {
		return fmt.Errorf("%w: %s version %d: %v", protocol.ErrMalformed, protocol.KeyName(r.Key), r.Version, err)
	}
	return nil
}

// respond encodes an answer in the version of its request.
func respond(r *socket.Request, resp kmsg.Response) socket.Reply {
	resp.SetVersion(r.Version)
	out := r.NewOut()
	out.B = resp.AppendTo(out.B)
	return socket.Send(out)
}
