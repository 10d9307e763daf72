package conf

// TopicKey is one configuration key of a topic.
type TopicKey struct {
	Name    string
	Type    Type
	Default string // of the log layer; the broker's value of Synonym comes before it
	Valid   rule
	// Synonym is the broker key that gives the default, "" if there is none. Of
	// several (retention by ms, minutes, hours) it is the one of the highest rank.
	Synonym string
	Doc     string
}

// topicKeys holds Kafka's topic configs and ours.
func topicKeys() []TopicKey {
	return []TopicKey{
		{"cleanup.policy", List, "delete", listOf("compact", "delete"), "log.cleanup.policy",
			"What becomes of old segments: delete, compact, or both."},
		{"compression.gzip.level", Int, "-1", gzipLevel(), "compression.gzip.level",
			"Level used where the broker compresses with gzip."},
		{"compression.lz4.level", Int, "9", between(1, 17), "compression.lz4.level",
			"Level used where the broker compresses with lz4."},
		{"compression.type", String, "producer", oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), "compression.type",
			"How batches are stored; producer keeps what the producer chose."},
		{"compression.zstd.level", Int, "3", between(-131072, 22), "compression.zstd.level",
			"Level used where the broker compresses with zstd."},
		{"delete.retention.ms", Long, "86400000", atLeast(0), "log.cleaner.delete.retention.ms",
			"How long tombstones of a compacted topic are kept."},
		{"file.delete.delay.ms", Long, "60000", atLeast(0), "log.segment.delete.delay.ms",
			"How long a deleted file keeps its name before it is removed."},
		{"flush.messages", Long, maxLong, atLeast(1), "log.flush.interval.messages",
			"Records after which the log is synced to disk."},
		{"flush.ms", Long, maxLong, atLeast(0), "log.flush.interval.ms",
			"Time after which the log is synced to disk."},
		{"follower.replication.throttled.replicas", List, "", throttled(), "",
			"Replicas whose copying is throttled on the follower's side: * or partition:broker pairs."},
		{"index.interval.bytes", Int, "4096", atLeast(0), "log.index.interval.bytes",
			"Bytes of log between two index entries."},
		{"leader.replication.throttled.replicas", List, "", throttled(), "",
			"Replicas whose copying is throttled on the leader's side: * or partition:broker pairs."},
		{"local.retention.bytes", Long, "-2", atLeast(-2), "log.local.retention.bytes",
			"Size kept on local disk with remote storage."},
		{"local.retention.ms", Long, "-2", atLeast(-2), "log.local.retention.ms",
			"Age kept on local disk with remote storage."},
		{"max.compaction.lag.ms", Long, maxLong, atLeast(1), "log.cleaner.max.compaction.lag.ms",
			"How long a record may wait for compaction."},
		{"max.message.bytes", Int, "1048588", atLeast(0), "message.max.bytes",
			"Largest record batch accepted, in bytes."},
		{"message.downconversion.enable", Boolean, "true", rule{}, "log.message.downconversion.enable",
			"Convert records for consumers that know only older formats."},
		{"message.format.version", String, "3.0-IV1", version(), "log.message.format.version",
			"Accepted and ignored: records are always stored in the newest format."},
		{"message.timestamp.after.max.ms", Long, maxLong, atLeast(0), "log.message.timestamp.after.max.ms",
			"How far a producer's time may be in the future."},
		{"message.timestamp.before.max.ms", Long, maxLong, atLeast(0), "log.message.timestamp.before.max.ms",
			"How far a producer's time may be in the past."},
		{"message.timestamp.difference.max.ms", Long, maxLong, atLeast(0), "log.message.timestamp.difference.max.ms",
			"How far a producer's time may be from the broker's; the two keys above come first."},
		{"message.timestamp.type", String, "CreateTime", oneOf("CreateTime", "LogAppendTime"), "log.message.timestamp.type",
			"Whether records keep the producer's time or get the broker's."},
		{"min.cleanable.dirty.ratio", Double, "0.5", between(0, 1), "log.cleaner.min.cleanable.ratio",
			"Share of uncleaned bytes from which the log is compacted."},
		{"min.compaction.lag.ms", Long, "0", atLeast(0), "log.cleaner.min.compaction.lag.ms",
			"How long a record is safe from compaction."},
		{"min.insync.replicas", Int, "1", atLeast(1), "min.insync.replicas",
			"How many replicas must be in sync for a write with acks=all."},
		{"preallocate", Boolean, "false", rule{}, "log.preallocate",
			"Reserve the whole segment on disk when it is opened."},
		{"record.validation", String, "sampled", oneOf("full", "sampled", "header"), "record.validation",
			"Barnabas only. How closely compressed batches of producers are looked at."},
		{"remote.log.copy.disable", Boolean, "false", rule{}, "",
			"Remote storage without new copies; refused with ZooKeeper."},
		{"remote.log.delete.on.disable", Boolean, "false", rule{}, "",
			"Delete remote data when remote storage is disabled; refused with ZooKeeper."},
		{"remote.storage.enable", Boolean, "false", rule{}, "",
			"Keep old segments in remote storage; needs the broker's."},
		{"retention.bytes", Long, "-1", rule{}, "log.retention.bytes",
			"Size of a partition above which its oldest segments are deleted; -1 is no bound."},
		{"retention.ms", Long, "604800000", atLeast(-1), "log.retention.ms",
			"Age at which a segment is deleted; -1 keeps all."},
		{"segment.bytes", Int, "1073741824", atLeast(14), "log.segment.bytes",
			"Size of one segment file in bytes."},
		{"segment.index.bytes", Int, "10485760", atLeast(4), "log.index.size.max.bytes",
			"Largest offset index of a segment."},
		{"segment.jitter.ms", Long, "0", atLeast(0), "log.roll.jitter.ms",
			"Up to how much of segment.ms is taken off at random."},
		{"segment.ms", Long, "604800000", atLeast(1), "log.roll.ms",
			"Age at which a segment is closed."},
		{"unclean.leader.election.enable", Boolean, "false", rule{}, "unclean.leader.election.enable",
			"Let a replica that was not in sync lead when no other is left, and lose what it lacks."},
	}
}

const maxLong = "9223372036854775807"

// TopicSynonyms lists, by broker key, the topic configs that it is the default of.
func TopicSynonyms() map[string][]string {
	out := map[string][]string{}
	for _, k := range table().topics {
		if k.Synonym != "" {
			out[k.Synonym] = append(out[k.Synonym], k.Name)
		}
	}
	return out
}
