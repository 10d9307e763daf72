// Package follower copies partitions from their leaders: one loop per leader
// and fetcher, each with a connection and a fetch session (KIP-227) of its own.
//
// What is to be copied comes by Follow, which only notes it; Run owns the
// loops, and ends when they have. A loop owns its partitions, its session and
// its connection. Everything that is known of a partition's log is asked of
// broker/replica, which refuses what comes for a leadership that is over.
//
// One partition never stops another: what fails waits by itself, at first for a
// moment, then for longer up to replica.fetch.backoff.ms, and leaves the session
// meanwhile. A broken connection costs none its place.
//
// A loop whose request waits at the leader when a new partition comes gives
// that connection up and asks again, for all of them: a new partition's first
// records, and those who wait for acks=all, do not sit out the old request.
package follower
