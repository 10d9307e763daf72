package group

// consumerProtocol is the protocol type of consumers, whose subscriptions and
// assignments the coordinator can read (ConsumerProtocolSubscription,
// ConsumerProtocolAssignment: int16 version, topics, …). All versions begin like
// version 0.
const consumerProtocol = "consumer"

// subscriptions are the topics that the members of the generation subscribe to;
// nil if that can't be told.
func (m *Machine) subscriptions() map[string]struct{} {
	if m.protocolType != consumerProtocol {
		return nil
	}
	topics := map[string]struct{}{}
	for _, p := range m.order {
		d := decoder{b: p.metadata(*m.protocol)}
		d.int16()
		for range d.arrayLen() {
			if d.failed {
				break
			}
			topics[d.string()] = struct{}{}
		}
		if d.failed {
			return nil
		}
	}
	return topics
}

// assignedTopic is one topic of a consumer's assignment.
type assignedTopic struct {
	topic      string
	partitions []int32
}

// decodeAssignment reads a consumer's assignment and the user data after it.
func decodeAssignment(b []byte) (topics []assignedTopic, userData []byte, good bool) {
	d := decoder{b: b}
	d.int16()
	for range d.arrayLen() {
		if d.failed {
			break
		}
		t := assignedTopic{topic: d.string()}
		for range d.arrayLen() {
			if d.failed {
				break
			}
			t.partitions = append(t.partitions, d.int32())
		}
		topics = append(topics, t)
	}
	userData = d.bytes()
	return topics, userData, !d.failed
}
