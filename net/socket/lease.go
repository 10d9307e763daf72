package socket

import "barnabas/net/frame"

// leaseFree is how much a request may take without a lease while it is served, and
// its reply until it is sent. So the number of connections bounds what is not
// leased, and small requests are answered however many large ones wait.
const leaseFree = 64 << 10

// Lease waits for memory for n bytes that r becomes while it is served, with its
// reply: nil if that is too little to ask for. The error is that the connection
// ended. A connection that keeps its lease for long while others wait for it is
// closed (see frame.Budget).
//
// Other brokers do not wait on a listener of their own: there are few of them, and what
// clients wait for may depend on them. On one that clients share, where anybody may
// say that he is a broker, they wait for memory that no client has who waits for them.
//
// Who has a lease waits for no other; it ends in Charge or is released.
func (r *Request) Lease(n int64) (*frame.Lease, error) {
	c := r.Conn
	switch {
	case n <= leaseFree || c.exempt:
		return nil, nil
	case r.Stamped:
		return c.srv.held.Lease(n, c.peer)
	}
	return c.srv.work.Lease(n, c.peer)
}

// Extend makes a lease, or nil, one of n bytes if there is memory for that without
// waiting. It reports whether it was done.
func (r *Request) Extend(lease *frame.Lease, n int64) (*frame.Lease, bool) {
	switch {
	case r.Conn.exempt:
		return lease, true
	case lease != nil:
		return lease, lease.Try(n)
	}
	lease = r.Conn.srv.work.TryLease(n, r.Conn.peer)
	return lease, lease != nil
}

// Hold waits for memory for n bytes that are made while the reply to r is sent, and
// kept until the client has taken them. It may be called after Serve has returned, by
// who writes the reply, and has memory of its own: who has a lease may wait for it,
// and who has some of it waits for nothing but the client. The error is that the
// connection ended, or is ended since its client goes while others wait.
func (r *Request) Hold(n int64) (*frame.Lease, error) {
	if r.Conn.exempt {
		return nil, nil
	}
	return r.Conn.srv.held.Lease(n, r.Conn.peer)
}

// Charge makes o hold the lease for as long as it is not sent, for as much as it
// really takes. A lease of nil is one for what turned out to be large: those who come
// next wait for that.
func (r *Request) Charge(o *Out, lease *frame.Lease) {
	n := int64(cap(o.B))
	if n <= leaseFree {
		lease.Release()
		return
	}
	if c := r.Conn; lease == nil && !c.exempt {
		lease = c.srv.work.NewLease(c.peer)
	}
	lease.Resize(n)
	o.lease = lease
}

// Adopt makes o hold a lease that is large enough for it, or nil, for as long as it
// is not sent.
func (o *Out) Adopt(lease *frame.Lease) {
	if o.lease == nil {
		o.lease = lease
		return
	}
	lease.Release() // what o copied is more
}

// mayCopy reports whether n more bytes can be copied into B: there is memory for
// that without waiting.
func (o *Out) mayCopy(n int) bool {
	n += len(o.B)
	switch {
	case n <= leaseFree || n <= o.copied:
		return true
	case o.conn.exempt:
		return true
	}
	// As Room makes it, and in few steps.
	want := int64(2 * n)
	if o.lease == nil {
		o.lease = o.srv.work.TryLease(want, o.conn.peer)
	} else if !o.lease.Try(want) {
		return false
	}
	if o.lease == nil {
		return false
	}
	o.copied = 2 * n
	return true
}
