package protocol

// ResourceExplanation is a kind of resource of our own in DescribeConfigs: the
// name is what to explain ("orders-0", "broker 1", "controller"), and the one
// config that comes back, "explanation", is JSON (docs/explain.md). It goes
// through a request that is there anyway since clients send no keys that a broker
// does not advertise. Apache Kafka answers INVALID_REQUEST.
const ResourceExplanation = 100
