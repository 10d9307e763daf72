package broker

import (
	"math"
	"net"
	"runtime"
	"strconv"
	"time"

	"barnabas/conf"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/net/socket"
)

// logOptions are a topic's settings as its logs take them.
func logOptions(t *conf.Topic) log.Options {
	o := log.Options{
		SegmentBytes: t.SegmentBytes, SegmentAge: t.SegmentAge, SegmentJitter: t.SegmentJitter,
		RetentionAge: t.Retention, RetentionBytes: t.RetentionBytes,
		IndexIntervalBytes: t.IndexIntervalBytes, IndexMaxBytes: t.SegmentIndexBytes,
		MaxMessageBytes: t.MaxMessageBytes,
		Compact:         t.Compact, Delete: t.Delete, MinCleanableRatio: t.MinCleanableRatio, DeleteRetention: t.DeleteRetention,
		MinCompactionLag: t.MinCompactionLag, MaxCompactionLag: finite(t.MaxCompactionLag),
		FlushMessages: t.FlushMessages, FlushInterval: finite(t.FlushInterval),
		FileDeleteDelay: t.FileDeleteDelay,
		LogAppendTime:   t.LogAppendTime, TimestampBeforeMax: finite(t.TimestampBeforeMax), TimestampAfterMax: finite(t.TimestampAfterMax),
		Preallocate: t.Preallocate,
	}
	switch t.Validation {
	case conf.ValidateFull:
		o.Validation = log.ValidateFull
	case conf.ValidateHeader:
		o.Validation = log.ValidateHeader
	default:
		o.Validation = log.ValidateSampled
	}
	o.Codec, o.Level, o.Recompress = codecOf(t)
	return o
}

// cleanerOptions are the settings of compaction.
func cleanerOptions(c *conf.Cleaner) log.CleanerOptions {
	if !c.Enable {
		return log.CleanerOptions{}
	}
	o := log.CleanerOptions{
		Threads: c.Threads, DedupeBytes: c.DedupeBufferBytes, IOBytes: int64(c.IOBufferBytes), LoadFactor: c.IOBufferLoadFactor,
		Backoff: c.Backoff,
	}
	if c.IOMaxBytesPerSecond < math.MaxFloat64/2 {
		o.BytesPerSecond = c.IOMaxBytesPerSecond
	}
	return o
}

// codecOf is what compression.type asks for.
func codecOf(t *conf.Topic) (c batch.Codec, level int, recompress bool) {
	switch t.CompressionType {
	case "uncompressed":
		return batch.None, 0, true
	case "gzip":
		return batch.Gzip, t.GzipLevel, true
	case "snappy":
		return batch.Snappy, 0, true
	case "lz4":
		return batch.LZ4, t.LZ4Level, true
	case "zstd":
		return batch.Zstd, t.ZstdLevel, true
	}
	return batch.None, 0, false
}

// finite is d, or 0 for the largest duration, which stands for "never".
func finite(d time.Duration) time.Duration {
	if d == 1<<63-1 {
		return 0
	}
	return d
}

// minBacklog is the shortest queue of connections to be accepted. With Kafka's
// default of 50, the system turns away hundreds of two thousand clients that
// come back at once (failed SYN cookies).
const minBacklog = 1024

func socketOptions(c *conf.Config) socket.Options {
	o := socket.Options{
		MaxRequestBytes: c.Socket.MaxRequestBytes, MaxQueuedBytes: maxQueuedBytes(c.Socket.QueuedMaxBytes),
		MaxWorkBytes: maxQueuedBytes(-1),
		MaxIdle:      c.Socket.MaxIdle, Backlog: max(c.Socket.Backlog, minBacklog),
		SendBuffer: c.Socket.SendBufferBytes, ReceiveBuffer: c.Socket.ReceiveBufferBytes,
	}
	for _, l := range c.Listeners.Bind {
		o.Listeners = append(o.Listeners, socket.ListenerOptions{
			Name: l.Name, Addr: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), Protected: l.Name == c.Listeners.InterBroker,
		})
	}
	return o
}

// pollers is how many threads serve connections themselves: none without a
// processor that they leave to the rest, and by themselves none where other brokers
// of the process want some too.
func pollers(configured int, sole bool) int {
	half := runtime.GOMAXPROCS(0) / 2
	switch {
	case configured >= 0:
		return min(configured, half)
	case sole:
		return half
	}
	return 0
}
