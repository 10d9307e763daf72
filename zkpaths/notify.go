package zkpaths

import "barnabas/internal/kafka"

const (
	// ISRChanges has a sequential child for each batch of ISR changes that
	// leaders before 2.7 made; EncodePartitions is the format.
	ISRChanges      = "/isr_change_notification"
	ISRChangePrefix = "isr_change_"
	ISRChangePath   = ISRChanges + "/" + ISRChangePrefix

	// LogDirEvents has a sequential child for each failure of a log directory.
	LogDirEvents      = "/log_dir_event_notification"
	LogDirEventPrefix = "log_dir_event_"
	LogDirEventPath   = LogDirEvents + "/" + LogDirEventPrefix
)

// LogDirFailure is the only event there is.
const LogDirFailure = 1

// LogDirEvent says that a log directory of a broker failed. Our brokers add which
// replicas they can't serve; whoever is elected then need not ask them.
type LogDirEvent struct {
	Broker kafka.BrokerID
	Event  int
	// Complete is set in events of ours: Offline are all replicas of the broker that
	// it can't serve, perhaps none.
	Complete bool
	Offline  []LogDirTopic
}

// LogDirTopic are partitions of a topic.
type LogDirTopic struct {
	ID         kafka.TopicID
	Partitions []int32
}

type logDirEventJSON struct {
	Version  int             `json:"version"`
	Broker   *kafka.BrokerID `json:"broker"`
	Event    int             `json:"event"`
	Barnabas *offlineJSON    `json:"barnabas,omitempty"`
}

type offlineJSON struct {
	Offline []logDirTopicJSON `json:"offline"`
}

type logDirTopicJSON struct {
	ID         string  `json:"id"`
	Partitions []int32 `json:"partitions"`
}

// Encode writes version 1.
func (e LogDirEvent) Encode() []byte {
	v := logDirEventJSON{Version: 1, Broker: &e.Broker, Event: e.Event}
	if e.Complete {
		v.Barnabas = &offlineJSON{Offline: make([]logDirTopicJSON, len(e.Offline))}
		for i, t := range e.Offline {
			v.Barnabas.Offline[i] = logDirTopicJSON{t.ID.String(), t.Partitions}
		}
	}
	return render(v)
}

// DecodeLogDirEvent reads it.
func DecodeLogDirEvent(data []byte) (LogDirEvent, error) {
	var v logDirEventJSON
	if err := parse("log dir event", data, &v); err != nil {
		return LogDirEvent{}, err
	}
	if v.Broker == nil {
		return LogDirEvent{}, dataErrorf("log dir event", "no broker in %q", clip(data))
	}
	e := LogDirEvent{Broker: *v.Broker, Event: v.Event}
	if v.Barnabas == nil {
		return e, nil
	}
	e.Complete = true
	for _, t := range v.Barnabas.Offline {
		id, err := kafka.ParseTopicID(t.ID)
		if err != nil {
			return LogDirEvent{}, dataError("log dir event", err)
		}
		e.Offline = append(e.Offline, LogDirTopic{id, t.Partitions})
	}
	return e, nil
}

// ParseLogDirEvent gives the number of an event by the name of its znode.
func ParseLogDirEvent(name string) (int64, bool) { return sequence(LogDirEventPrefix, name) }
