package api

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"barnabas/broker/fetchsession"
	"barnabas/internal/invariant"
	"barnabas/log/downconvert"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// API serves requests. It implements socket.Handler.
type API struct {
	opt      Options
	log      *slog.Logger
	table    [maxKey + 1]*entry
	sessions *fetchsession.Cache
	down     *downconvert.Converter
	scratch  scratch
	sizes    sizes
	kept     kept
	fetched  fetched
}

// fetched counts partitions in fetches that were answered.
type fetched struct{ total, failed atomic.Int64 }

// Fetched is how many partitions were asked for in fetches that were answered,
// and how many of those failed in a way that Kafka counts as failed: not for a
// leader elsewhere or an offset out of range.
func (a *API) Fetched() (total, failed int64) { return a.fetched.total.Load(), a.fetched.failed.Load() }

// FetchSessions is the number of incremental fetch sessions.
func (a *API) FetchSessions() int { return a.sessions.Len() }

// count notes a fetch that is answered.
func (c *fetched) count(f *fetch) {
	c.total.Add(int64(f.all))
	for i := range f.parts {
		p := &f.parts[i]
		p.data.CountSent()
		if p.err == nil {
			continue
		}
		if code := protocol.CodeOf(p.err); code == protocol.UnknownServerError || code == protocol.CorruptMessage {
			c.failed.Add(1)
		}
	}
}

// New makes the handler of all keys of the table.
func New(o Options) *API {
	o = o.withDefaults()
	a := &API{opt: o, log: o.Logger, sessions: fetchsession.New(o.FetchSessionSlots),
		down: downconvert.New(downconvert.Options{Codecs: o.Codecs, Logger: o.Logger})}
	a.kept.most = o.GroupBytes
	for _, e := range table() {
		a.table[e.key] = &e
	}
	return a
}

// Serve answers one request. What the table does not have closes the
// connection, except a version of ApiVersions that is too new.
func (a *API) Serve(ctx context.Context, r *socket.Request) socket.Reply {
	if r.Key == protocol.KeyLogEnds && r.Version == 0 {
		return a.guarded(ctx, &entry{key: r.Key, serve: (*API).logEnds}, r)
	}
	if r.Key < 0 || r.Key > maxKey || a.table[r.Key] == nil {
		return socket.CloseConn(fmt.Errorf("api: unknown API key %d", r.Key))
	}
	e := a.table[r.Key]
	if r.Key == protocol.KeyAPIVersions && r.Version > e.max {
		return a.apiVersionsUnsupported(r)
	}
	if r.Version < e.min || r.Version > e.max {
		return socket.CloseConn(fmt.Errorf("api: version %d of %s", r.Version, protocol.KeyName(r.Key)))
	}
	return a.guarded(ctx, e, r)
}

// guarded serves a request and closes its connection if the handler panics: a
// bug that one client can reach must not take the broker from all others. Test
// builds panic.
func (a *API) guarded(ctx context.Context, e *entry, r *socket.Request) (reply socket.Reply) {
	defer func() {
		if invariant.Enabled {
			return
		}
		if p := recover(); p != nil {
			a.log.Error("a request made its handler panic; this is a bug", "api", protocol.KeyName(r.Key), "version", r.Version,
				"client", r.ClientID, "panic", p, "stack", string(debug.Stack()))
			reply = socket.CloseConn(nil)
		}
	}()
	return e.serve(a, ctx, r)
}
