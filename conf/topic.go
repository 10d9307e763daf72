package conf

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// topicDefaults gives each topic config the broker's value of its synonym, or,
// where times may be given in several units, of the highest that is set.
func (b *builder) topicDefaults() Topic {
	values := map[string]any{}
	for _, k := range table().topics {
		if k.Synonym != "" && b.get(k.Synonym) != nil {
			values[k.Name] = b.get(k.Synonym)
			continue
		}
		values[k.Name], _ = parse(k.Type, k.Default)
	}
	if !b.has("log.flush.interval.ms") {
		values["flush.ms"] = b.long("log.flush.scheduler.interval.ms")
	}
	if !b.has("log.roll.ms") {
		values["segment.ms"] = hours(b.long("log.roll.hours"))
	}
	if !b.has("log.roll.jitter.ms") {
		values["segment.jitter.ms"] = hours(b.long("log.roll.jitter.hours"))
	}
	retention := b.long("log.retention.ms")
	switch {
	case b.has("log.retention.ms"):
	case b.has("log.retention.minutes"):
		retention = b.long("log.retention.minutes") * int64(time.Minute/time.Millisecond)
	default:
		retention = hours(b.long("log.retention.hours"))
	}
	values["retention.ms"] = max(retention, -1)
	switch {
	case retention == 0:
		b.contradiction("log.retention.ms must be unlimited (-1) or, greater than or equal to 1")
	case values["segment.ms"].(int64) < 1:
		b.contradiction("log.roll.ms must be greater than or equal to 1")
	case values["segment.jitter.ms"].(int64) < 0:
		b.contradiction("log.roll.jitter.ms must be greater than or equal to 0")
	}
	t := fillTopic(values)
	if t.MinCompactionLag > t.MaxCompactionLag {
		b.contradiction("conflict topic config setting log.cleaner.min.compaction.lag.ms (%d) > log.cleaner.max.compaction.lag.ms (%d)",
			values["min.compaction.lag.ms"], values["max.compaction.lag.ms"])
	}
	b.topics = values
	return t
}

func hours(n int64) int64 { return n * int64(time.Hour/time.Millisecond) }

// Topic is the effective configuration of a topic with these overrides. The
// error is an *Error, or wraps ErrUnknownTopicConfig for an unknown name, and has
// Kafka's text, ready for INVALID_CONFIG.
func (c *Config) Topic(overrides map[string]string) (Topic, error) {
	if len(overrides) == 0 {
		return c.Topics.Defaults, nil
	}
	values, err := c.topicValues(overrides)
	if err != nil {
		return Topic{}, err
	}
	low, high := values["min.compaction.lag.ms"].(int64), values["max.compaction.lag.ms"].(int64)
	switch {
	case low > high:
		return Topic{}, &Error{Key: "min.compaction.lag.ms",
			Reason: fmt.Sprintf("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", low, high)}
	case values["remote.log.copy.disable"] == true || values["remote.log.delete.on.disable"] == true:
		return Topic{}, &Error{Key: "remote.log.copy.disable",
			Reason: "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's mode."}
	case values["remote.storage.enable"] == true:
		return Topic{}, &Error{Key: "remote.storage.enable", Value: true,
			Reason: "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."}
	}
	return fillTopic(values), nil
}

// TopicLenient is Topic for overrides that are stored already: what is unknown
// or cannot be is left out and named, as Kafka ignores it.
func (c *Config) TopicLenient(overrides map[string]string) (Topic, []Warning) {
	var warnings []Warning
	good := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if _, err := c.Topic(map[string]string{name: overrides[name]}); err != nil {
			warnings = append(warnings, Warning{name, err.Error()})
			continue
		}
		good[name] = overrides[name]
	}
	t, err := c.Topic(good)
	if err != nil { // each is fine, together they are not
		return c.Topics.Defaults, append(warnings, Warning{"", err.Error()})
	}
	return t, warnings
}

// topicValues lays overrides over the broker's values.
func (c *Config) topicValues(overrides map[string]string) (map[string]any, error) {
	values := maps.Clone(c.topicDefaults)
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		k := table().byTopic[name]
		if k == nil {
			return nil, fmt.Errorf("%w", &unknownTopicConfig{name})
		}
		v, reason := parse(k.Type, overrides[name])
		if reason == "" && k.Valid.check != nil {
			reason = k.Valid.check(v)
		}
		if reason != "" {
			e := invalid(&Key{Type: k.Type, Valid: k.Valid}, name, setting{value: overrides[name]}, v, reason)
			return nil, &Error{Key: name, Reason: e.Reason, Value: true}
		}
		values[name] = v
	}
	return values, nil
}

type unknownTopicConfig struct{ name string }

func (e *unknownTopicConfig) Error() string { return "Unknown topic config name: " + e.name }
func (e *unknownTopicConfig) Unwrap() error { return ErrUnknownTopicConfig }

// fillTopic types a whole set of values, one for every topic config.
func fillTopic(v map[string]any) Topic {
	long := func(name string) int64 { return v[name].(int64) }
	policy := v["cleanup.policy"].([]string)
	t := Topic{
		Compact:                   slices.Contains(policy, "compact"),
		Delete:                    slices.Contains(policy, "delete"),
		CompressionType:           v["compression.type"].(string),
		GzipLevel:                 int(long("compression.gzip.level")),
		LZ4Level:                  int(long("compression.lz4.level")),
		ZstdLevel:                 int(long("compression.zstd.level")),
		DeleteRetention:           millis(long("delete.retention.ms")),
		FileDeleteDelay:           millis(long("file.delete.delay.ms")),
		FlushMessages:             long("flush.messages"),
		FlushInterval:             millis(long("flush.ms")),
		IndexIntervalBytes:        int(long("index.interval.bytes")),
		MinCompactionLag:          millis(long("min.compaction.lag.ms")),
		MaxCompactionLag:          millis(long("max.compaction.lag.ms")),
		MaxMessageBytes:           int(long("max.message.bytes")),
		DownConversion:            v["message.downconversion.enable"].(bool),
		LogAppendTime:             v["message.timestamp.type"] == "LogAppendTime",
		TimestampBeforeMax:        millis(long("message.timestamp.before.max.ms")),
		TimestampAfterMax:         millis(long("message.timestamp.after.max.ms")),
		MinCleanableRatio:         v["min.cleanable.dirty.ratio"].(float64),
		MinISR:                    int(long("min.insync.replicas")),
		Preallocate:               v["preallocate"].(bool),
		RetentionBytes:            long("retention.bytes"),
		Retention:                 millis(long("retention.ms")),
		SegmentBytes:              long("segment.bytes"),
		SegmentIndexBytes:         int(long("segment.index.bytes")),
		SegmentJitter:             millis(min(long("segment.jitter.ms"), long("segment.ms"))),
		SegmentAge:                millis(long("segment.ms")),
		UncleanElection:           v["unclean.leader.election.enable"].(bool),
		Validation:                Validation(v["record.validation"].(string)),
		LeaderThrottledReplicas:   v["leader.replication.throttled.replicas"].([]string),
		FollowerThrottledReplicas: v["follower.replication.throttled.replicas"].([]string),
	}
	// The two newer limits come before the older one that covers both sides.
	either := millis(long("message.timestamp.difference.max.ms"))
	if long("message.timestamp.before.max.ms") == math.MaxInt64 {
		t.TimestampBeforeMax = either
	}
	if long("message.timestamp.after.max.ms") == math.MaxInt64 {
		t.TimestampAfterMax = either
	}
	if t.Compact {
		t.SegmentAge = min(t.SegmentAge, t.MaxCompactionLag)
	}
	return t
}
