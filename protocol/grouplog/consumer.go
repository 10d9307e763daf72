package grouplog

// ConsumerProtocol is the protocol type of consumers, whose subscriptions and
// assignments can be read here. Their schemas are ConsumerProtocolSubscription
// and ConsumerProtocolAssignment of Apache Kafka's clients; every later version
// begins like version 0.
const ConsumerProtocol = "consumer"

// subscription is what a consumer wants and, from version 1 on, had.
type subscription struct {
	version    int16
	topics     []string
	userData   []byte // nil is null
	owned      []topicPartitions
	generation int32
	rack       *string
}

// assignment is what a consumer gets.
type assignment struct {
	topics   []topicPartitions
	userData []byte // nil is null
}

// topicPartitions are partitions of one topic.
type topicPartitions struct {
	topic      string
	partitions []int32
}

// SubscribedTopics reads the topics of a consumer's subscription, of any
// version; false if it does not decode.
func SubscribedTopics(subscription []byte) ([]string, bool) {
	d := decoder{b: subscription}
	d.int16()
	topics := d.strings()
	return topics, !d.failed
}

// decodeSubscription reads versions 0 to 3. What follows is ignored.
func decodeSubscription(b []byte) (subscription, bool) {
	d := decoder{b: b}
	s := subscription{version: d.int16()}
	s.topics, s.userData = d.strings(), d.bytes()
	if s.version >= 1 {
		s.owned = d.topicPartitions()
	}
	if s.version >= 2 {
		s.generation = d.int32()
	}
	if s.version >= 3 {
		s.rack = d.nullableString()
	}
	return s, !d.failed && s.version >= 0 && s.version <= 3
}

// decodeAssignment reads versions 0 to 3, which are alike.
func decodeAssignment(b []byte) (assignment, bool) {
	d := decoder{b: b}
	version := d.int16()
	a := assignment{d.topicPartitions(), d.bytes()}
	return a, !d.failed && version >= 0 && version <= 3
}

func (d *decoder) strings() []string {
	var out []string
	for range d.arrayLen() {
		if d.failed {
			break
		}
		out = append(out, d.string())
	}
	return out
}

func (d *decoder) topicPartitions() []topicPartitions {
	var out []topicPartitions
	for range d.arrayLen() {
		if d.failed {
			break
		}
		t := topicPartitions{topic: d.string()}
		for range d.arrayLen() {
			if d.failed {
				break
			}
			t.partitions = append(t.partitions, d.int32())
		}
		out = append(out, t)
	}
	return out
}
