// Package api answers Kafka's requests: one file per API key, each of which
// decodes, asks a room, and encodes. It decides nothing.
//
// The table in table.go has one line per key; what stands there is what
// ApiVersions advertises. Produce, Fetch and ApiVersions see the raw request;
// every other handler has the form
//
//	func (a *API) metadata(ctx context.Context, c *Call, req *kmsg.MetadataRequest) *kmsg.MetadataResponse
//
// and enters the table through adapt. It gets a request that was checked
// against the protocol's structure, may block until ctx ends, sees no other
// request of its connection meanwhile, and answers with a response whose
// version is set for it. The strings and bytes of req are its own to keep. A
// nil response closes the connection.
//
// The package holds no state but the cache of fetch sessions and of topic
// names, and takes no lock of a room.
package api
