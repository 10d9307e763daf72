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

// LogDirEvent says that a log directory of a broker failed.
type LogDirEvent struct {
	Broker kafka.BrokerID
	Event  int
}

type logDirEventJSON struct {
	Version int             `json:"version"`
	Broker  *kafka.BrokerID `json:"broker"`
	Event   int             `json:"event"`
}

// Encode writes version 1.
func (e LogDirEvent) Encode() []byte { return render(logDirEventJSON{1, &e.Broker, e.Event}) }

// DecodeLogDirEvent reads it.
func DecodeLogDirEvent(data []byte) (LogDirEvent, error) {
	var v logDirEventJSON
	if err := parse("log dir event", data, &v); err != nil {
		return LogDirEvent{}, err
	}
	if v.Broker == nil {
		return LogDirEvent{}, dataErrorf("log dir event", "no broker in %q", clip(data))
	}
	return LogDirEvent{*v.Broker, v.Event}, nil
}
