// Package session is the house's only user of a ZooKeeper client library. It
// gives a Client: reads, conditional writes and transactions under a chroot,
// pipelined reads, one-shot watches, and a session that is made anew for ever.
// It knows nothing of what a path means.
//
// Life: Open connects, makes the chroot and returns once the first session is
// usable; Close ends the session and returns when every goroutine has ended.
// When the session expires, pending calls fail with ErrExpired, OnState hears
// Expired, and a new session is begun; later calls wait for it. NewSession is
// told, and the first read let through, after a sync: what this client or its
// last session wrote is then visible.
//
// What the library does and this package closes: its handshake may wait ten
// times the receive timeout (guard clamps it); it resolves names once (hosts
// resolves each round); requests that wait while it is disconnected go out on
// the next session (each session has a library connection of its own, and
// requests wait at our gate); an unasked new session is taken for the old one
// (guard turns it into an expiry); its event channel drops (we use the
// synchronous callback); each armed watch adds a channel (watches arms one per
// path and kind); a failed SetWatches is only logged (we then drop the
// connection, so that it is tried again); a lying frame length ends the process
// (guard refuses it).
//
// Watches are hints. Nothing may depend on a watch alone: a reader also looks
// again after each Connected and NewSession, and once a second.
//
// Locks: Client.mu guards the state of the connection; dispatcher.mu and
// watches.mu nest inside nothing and hold nothing. OnEvent and OnState are
// called by one goroutine of their own, in order, without any lock; they should
// only enqueue, since one that blocks delays the events behind it (never the
// reader of the socket).
package session
