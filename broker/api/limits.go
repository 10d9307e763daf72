package api

import (
	"context"

	"barnabas/net/socket"
	"barnabas/protocol"
)

// largeBody is the size from which a body takes a place in API.large. Decoded
// and answered, a body may take a hundred times its size.
const largeBody = 16 << 10

// maxLarge is how many large requests are served at a time.
const maxLarge = 2

// waitsForOthers reports whether the answer waits for what other clients or
// brokers send, so that it may not hold a place that they need.
func waitsForOthers(key int16) bool {
	return key == protocol.KeyJoinGroup || key == protocol.KeySyncGroup || key == protocol.KeyDeleteRecords
}

// enter takes a place if the request is large; leave gives it back. The error is
// that the connection closed before.
func (a *API) enter(ctx context.Context, r *socket.Request) (leave func(), err error) {
	if len(r.Body) < largeBody || waitsForOthers(r.Key) {
		return func() {}, nil
	}
	select {
	case a.large <- struct{}{}:
		return func() { <-a.large }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// repeats refuses what a request names again. Apache Kafka answers it again, so
// that a request of a few bytes for each name gets an answer of any size; its
// clients never ask so.
type repeats[K comparable] struct{ seen map[K]bool }

func (r *repeats[K]) check(k K) error {
	if r.seen[k] {
		return protocol.Fail(protocol.InvalidRequest, "Named more than once in the request.")
	}
	if r.seen == nil {
		r.seen = map[K]bool{}
	}
	r.seen[k] = true
	return nil
}
