// Package protocol is the vocabulary of Kafka's wire: error codes, the API keys
// and versions of Kafka 3.9, request and response headers, a structural check
// of request bodies, and hand-written codecs for the hot path (Produce, and the
// answer of Fetch). All other messages are kmsg's.
//
// It does no I/O and keeps no state. What it decodes aliases the given bytes.
// Every length is checked against the bytes at hand before anything is
// allocated for it.
package protocol
