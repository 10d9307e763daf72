package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/net/socket"
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
	key, min, max int16
	serve         func(a *API, ctx context.Context, r *socket.Request) socket.Reply
}

// adapt makes a handler of kmsg's types fit the table.
//
//	{protocol.KeyMetadata, 0, 12, adapt(kmsg.NewPtrMetadataRequest, (*API).metadata)},
func adapt[Req kmsg.Request, Resp kmsg.Response](
	newRequest func() Req,
	handle func(a *API, ctx context.Context, c *Call, req Req) Resp,
) func(*API, context.Context, *socket.Request) socket.Reply {
	return func(a *API, ctx context.Context, r *socket.Request) socket.Reply {
		return socket.NoReply()
	}
}
