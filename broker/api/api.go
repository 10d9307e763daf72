package api

import (
	"context"

	"barnabas/net/socket"
	"barnabas/protocol"
)

// API serves requests. It implements socket.Handler.
type API struct {
	opt   Options
	table [maxKey + 1]*entry
}

// New makes the handler of all keys of the table.
func New(o Options) *API {
	a := &API{opt: o}
	for i := range table {
		a.table[table[i].key] = &table[i]
	}
	return a
}

// Serve answers one request.
func (a *API) Serve(ctx context.Context, r *socket.Request) socket.Reply {
	return socket.CloseConn(protocol.UnsupportedVersion)
}
