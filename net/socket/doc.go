// Package socket accepts connections of Kafka clients, reads their requests,
// and sends the replies in the order of the requests.
//
// It knows the length prefix and the request header (key, version, correlation
// id, client id) and no body. A Handler serves each request on the goroutine of
// its connection, in the order of arrival, and returns a Reply: bytes with file
// ranges among them, nothing, or a Pending that is gathered later.
//
// # Overlap
//
// While a Produce waits for its replicas or a Fetch for data, the connection
// reads on; these two keys overlap (see Overlaps). Any other request is served
// only when all earlier replies are out, and may block its goroutine. At most
// MaxPending requests and MaxReadyBytes of finished replies are held per
// connection, then reading stops.
//
// # Goroutines and locks
//
// With pollers (see package poll), the goroutine that waits for connections reads,
// serves and writes what needs no waiting. Any other connection has a reader. It
// writes replies itself as long as nothing is parked before them; the first parked
// reply starts a writer that lives as long as the connection. Conn.mu guards the queue of replies and the right to
// write; it is held neither while writing nor while gathering.
package socket
