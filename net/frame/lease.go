package frame

// Lease is memory of a Budget that is for something else than a frame that
// arrives: what a request becomes, and its reply. It is used by one goroutine at
// a time. A nil Lease is one of nothing, of which all methods do nothing.
//
// Who waits for a lease may have a frame of another budget, but no other lease:
// so nobody waits in a circle.
type Lease struct {
	c claim
	// most is the largest lease that there can be.
	most int64
}

// Lease waits for n bytes, first come, first served among those of like size, as
// frames do; it fails when its connection ends. More than the largest frame of the
// budget counts as that. While others wait, a lease that is kept for too long (see
// ErrSlow) is ended by p.Evict, which must make its owner release it.
func (b *Budget) Lease(n int64, p Peer) (*Lease, error) {
	l := b.NewLease(p)
	n = min(n, l.most)
	if err := l.c.get(int(n), int(n), 0); err != nil {
		l.c.release()
		return nil, err
	}
	return l, nil
}

// NewLease is a lease of nothing yet.
func (b *Budget) NewLease(p Peer) *Lease {
	return &Lease{c: *newClaim(b, p), most: b.lanes[len(b.lanes)-1].max}
}

// TryLease is Lease if nobody need wait for that, else nil.
func (b *Budget) TryLease(n int64, p Peer) *Lease {
	l := b.NewLease(p)
	if n > l.most || !l.c.tryFor(int(n), int(n)) {
		return nil
	}
	return l
}

// Resize makes the lease as large as what is held under it has become. It does not
// wait, since the memory is taken already and waiting with it could go round in a
// circle: if that is more than there is, whoever comes next waits until it is there
// again.
func (l *Lease) Resize(n int64) {
	if l == nil || l.c.shrink(n) {
		return
	}
	c, b := &l.c, l.c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.from == nil {
		c.from = &b.open
	}
	c.from.used += n - c.size
	c.size = n
	c.beginLocked(n)
}

// Try is Resize if there is memory for that. It reports whether it was done.
func (l *Lease) Try(n int64) bool {
	return l != nil && (l.c.shrink(n) || n <= l.most && l.c.tryFor(int(n), int(n)))
}

// Release ends the lease. It may be called more than once.
func (l *Lease) Release() {
	if l != nil {
		l.c.release()
	}
}

// shrink gives back what is more than n bytes. It reports false if the claim is
// smaller than that.
func (c *claim) shrink(n int64) bool {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > c.size {
		return false
	}
	if c.from != nil {
		c.from.used -= c.size - n
		c.size, c.need = n, n
		b.dispatchLocked()
	}
	return true
}
