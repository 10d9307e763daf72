// Package peer connects this broker to other brokers of its cluster: requests
// out, answers in.
//
// Peers.Request is for small requests: it takes a connection that is idle, or
// dials, a few per broker at most, so that an answer that takes its time delays
// no other. A Conn of one's own, for a loop whose answers are large, has one
// request under way at a time.
//
// Nothing is sent twice. After ErrUnreachable and ErrUnknownBroker nothing was
// sent; after ErrBroken nobody knows what became of the request.
//
// An answer is bounded by MaxResponseBytes, and memory for it grows as its
// bytes arrive. The package knows nothing of what requests mean.
package peer
