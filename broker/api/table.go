package api

import "barnabas/protocol"

const maxKey = protocol.KeyConsumerGroupDescribe

// table has one line per API key that is served, and so advertised, with the
// versions. Sorted by key.
var table = []entry{}
