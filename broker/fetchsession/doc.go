// Package fetchsession remembers what clients fetch (KIP-227): a client names
// its partitions once and then only what changes, and is answered only with
// what is new. It does no I/O and starts no goroutine; the time comes from the
// caller.
//
// A request is one Fetch: Cache.Begin finds its session. What is to be read a full
// request names; of a session, Fetch.Look gives it, as often as the caller looks.
// Fetch.Finish takes what the reading found, says what belongs into the answer, and
// makes the session of a full request.
//
// A session with thousands of partitions is not gone through for each request: what
// was found to have nothing for the client is settled, and left alone until it
// changes (package watch), the client names it again, or asks in another way. What
// can't be settled, since it depends on more than the partition, as errors do, is
// looked at each time.
//
// Locks: Cache.shards[i].mu, then session.mu; neither over a callback, nor while a
// watch is begun or ended. session.mu is taken under the locks of those who change
// partitions.
package fetchsession
