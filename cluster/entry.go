package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

// EntryVersion is the format that this build writes. Readers accept larger ones
// with unknown keys, as long as MinReader is not above what they know.
const EntryVersion = 1

const (
	// MaxEntryBytes bounds what is decoded: ZooKeeper's own limit of a znode.
	MaxEntryBytes = 1 << 20
	// MaxPartitions bounds the partition numbers of a topic. A topic znode of
	// ZooKeeper's largest size names fewer.
	MaxPartitions = 1 << 17
)

// ErrEntry is wrapped by what DecodeEntry returns.
var ErrEntry = errors.New("cluster: bad change entry")

// Entry is one znode /metadata_changes/change_N: what the transaction that
// created it changed, complete enough to be applied without a read.
type Entry struct {
	Version    int                   `json:"version"`
	MinReader  int                   `json:"min_reader,omitempty"`
	Controller kafka.BrokerID        `json:"controller"`
	Epoch      kafka.ControllerEpoch `json:"controller_epoch"`
	// Token tells the writer that its own transaction was done.
	Token Token `json:"token"`
	// Begins is set in the first entry of each controller.
	Begins bool   `json:"begins,omitempty"`
	Reason Reason `json:"reason"`

	// AllBrokers says that Brokers is complete: who is not in it is down. A new
	// controller tells so once, since others may have missed what happened while
	// there was none.
	AllBrokers bool          `json:"all_brokers,omitempty"`
	Brokers    []EntryBroker `json:"brokers,omitempty"`
	Topics     []EntryTopic  `json:"topics,omitempty"`
	States     []EntryStates `json:"states,omitempty"`
}

// Token is unique among all entries: no session writes the same counter twice.
type Token struct {
	Broker  kafka.BrokerID
	Session int64
	Counter int64
}

// MarshalText is broker, session in hex and counter, with dashes between.
func (t Token) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d-%x-%d", t.Broker, uint64(t.Session), t.Counter), nil
}

// UnmarshalText reads what MarshalText writes.
func (t *Token) UnmarshalText(b []byte) error {
	parts := strings.Split(string(b), "-")
	if len(parts) != 3 {
		return fmt.Errorf("token %q has not three parts", b)
	}
	id, err1 := strconv.ParseInt(parts[0], 10, 32)
	session, err2 := strconv.ParseUint(parts[1], 16, 64)
	n, err3 := strconv.ParseInt(parts[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("token %q: %w", b, err)
	}
	*t = Token{kafka.BrokerID(id), int64(session), n}
	return nil
}

// Reason says why a change was made: a code and the ids that it is about. The
// words are made where somebody asks.
type Reason struct {
	Code string            `json:"code"`
	Args map[string]string `json:"args,omitempty"`
}

// BrokerState is the state of a broker in an entry.
type BrokerState string

const (
	Up       BrokerState = "up"
	Stopping BrokerState = "stopping"
	Down     BrokerState = "down"
)

// EntryBroker says that a broker is up (with all about it), stopping, or down.
type EntryBroker struct {
	ID    kafka.BrokerID    `json:"id"`
	Epoch kafka.BrokerEpoch `json:"epoch"`
	State BrokerState       `json:"state"`
	// Told is the zxid of the entry that told of this registration first; 0: this
	// is it.
	Told      int64              `json:"told,omitempty"`
	Endpoints []EntryEndpoint    `json:"endpoints,omitempty"`
	Rack      string             `json:"rack,omitempty"`
	Features  map[string]Feature `json:"features,omitempty"`
	Crashed   bool               `json:"crashed,omitempty"`
	// FastDeath: it may be declared dead by evidence; Alarm: it was, with its
	// session perhaps alive.
	FastDeath bool   `json:"fast_death,omitempty"`
	Alarm     bool   `json:"alarm,omitempty"`
	Barnabas  string `json:"barnabas,omitempty"`
	// Process is of the registration; an alarm names that of the dead.
	Process string `json:"process,omitempty"`
}

// EntryEndpoint is Endpoint in JSON.
type EntryEndpoint struct {
	Listener string `json:"listener"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
	Protocol string `json:"protocol"`
}

// TopicChange says what an entry does to a topic.
type TopicChange string

const (
	Created TopicChange = "created"
	Changed TopicChange = "changed"
	Deleted TopicChange = "deleted"
	// Vanished: its znode is gone though nobody asked for its deletion; brokers
	// keep the records.
	Vanished TopicChange = "vanished"
)

// EntryTopic is a topic that was made, changed or deleted. Partitions holds
// only those whose assignment changed.
type EntryTopic struct {
	Name   string      `json:"name"`
	ID     TopicIDText `json:"id"`
	Change TopicChange `json:"change"`
	// ZnodeVersion is that of the topic znode after the transaction; it means
	// something only with Assigned.
	ZnodeVersion int32 `json:"znode_version"`
	// Assigned tells that the topic znode was written by the transaction (or,
	// in a repair, checked by it).
	Assigned bool `json:"assigned,omitempty"`
	// Partitions are the replicas of each partition whose assignment changed;
	// Adding and Removing have entries only for those being reassigned.
	Partitions map[int32][]kafka.BrokerID `json:"partitions,omitempty"`
	Adding     map[int32][]kafka.BrokerID `json:"adding,omitempty"`
	Removing   map[int32][]kafka.BrokerID `json:"removing,omitempty"`
	// Gone are partitions that are in the topic znode no longer.
	Gone   []int32      `json:"gone,omitempty"`
	Config *EntryConfig `json:"config,omitempty"`
}

// EntryConfig is a topic's whole set of overrides.
type EntryConfig struct {
	ZnodeVersion int32             `json:"znode_version"` // -1: no config znode
	Values       map[string]string `json:"values"`
}

// EntryStates are states of partitions of one topic.
type EntryStates struct {
	Topic      string       `json:"topic"`
	ID         TopicIDText  `json:"id"`
	Partitions []EntryState `json:"partitions"`
}

// EntryState is the content of a state znode and its version.
type EntryState struct {
	Partition       int32                 `json:"partition"`
	Leader          kafka.BrokerID        `json:"leader"`
	LeaderEpoch     kafka.LeaderEpoch     `json:"leader_epoch"`
	ISR             []kafka.BrokerID      `json:"isr"`
	ControllerEpoch kafka.ControllerEpoch `json:"controller_epoch"`
	Recovering      bool                  `json:"recovering,omitempty"`
	ZnodeVersion    int32                 `json:"znode_version"`
	Offline         []kafka.BrokerID      `json:"offline,omitempty"`
}

// TopicIDText is a topic id as text in JSON; the zero id is "".
type TopicIDText kafka.TopicID

// MarshalText is Kafka's form of the id.
func (id TopicIDText) MarshalText() ([]byte, error) {
	if kafka.TopicID(id).IsZero() {
		return nil, nil
	}
	return []byte(kafka.TopicID(id).String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (id *TopicIDText) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = TopicIDText{}
		return nil
	}
	parsed, err := kafka.ParseTopicID(string(b))
	*id = TopicIDText(parsed)
	return err
}

// Encode is the data of the entry's znode.
func (e *Entry) Encode() []byte {
	b, err := e.encode()
	if err != nil {
		panic("cluster: an entry that can't be encoded: " + err.Error()) // only plain values inside
	}
	return b
}

// DecodeEntry reads an entry of any version that allows this reader. What it
// returns is safe to apply; the error wraps ErrEntry.
func DecodeEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntryBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrEntry, len(b))
	}
	e := &Entry{}
	if err := e.unmarshal(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if e.Version < 1 || e.MinReader > EntryVersion {
		return nil, fmt.Errorf("%w: version %d for readers from %d, this one knows %d", ErrEntry, e.Version, e.MinReader, EntryVersion)
	}
	if err := e.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return e, nil
}

func (e *Entry) validate() error {
	for _, b := range e.Brokers {
		if b.ID < 0 || b.State != Up && b.State != Stopping && b.State != Down {
			return fmt.Errorf("broker %d is %q", b.ID, b.State)
		}
	}
	for i := range e.Topics {
		if err := e.Topics[i].validate(); err != nil {
			return err
		}
	}
	for _, s := range e.States {
		if err := kafka.ValidateTopicName(s.Topic); err != nil {
			return err
		}
		for _, p := range s.Partitions {
			if p.Partition < 0 || p.Partition >= MaxPartitions {
				return fmt.Errorf("partition %d of %s", p.Partition, s.Topic)
			}
		}
	}
	return nil
}

func (t *EntryTopic) validate() error {
	if err := kafka.ValidateTopicName(t.Name); err != nil {
		return err
	}
	if t.Change != Created && t.Change != Changed && t.Change != Deleted && t.Change != Vanished {
		return fmt.Errorf("topic %s is %q", t.Name, t.Change)
	}
	for p := range t.Partitions {
		if p < 0 || p >= MaxPartitions {
			return fmt.Errorf("partition %d of %s", p, t.Name)
		}
	}
	return nil
}
