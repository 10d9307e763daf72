// Package fetchsession remembers what clients fetch (KIP-227): a client names
// its partitions once and then only what changes, and is answered only with
// what is new. It does no I/O and starts no goroutine; the time comes from the
// caller.
//
// A request is one Fetch: Cache.Begin finds its session and says what is to be
// read, Fetch.Finish takes what the reading found, says what belongs into the
// answer, and makes the session of a full request.
//
// Locks: Cache.shards[i].mu, then Session.mu; neither over a callback.
package fetchsession
