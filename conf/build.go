package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"barnabas/internal/kafka"
)

// builder turns checked values into a Config. Errors and warnings gather in it,
// so that an operator sees all of them at once.
type builder struct {
	given    map[string]setting
	values   map[string]any
	topics   map[string]any // effective values of a topic without overrides
	warnings []Warning
	errs     []error
}

func (b *builder) fail(err error) { b.errs = append(b.errs, err) }

func (b *builder) warn(key, text string) { b.warnings = append(b.warnings, Warning{key, text}) }

// contradiction reports values that cannot stand together, in Kafka's words.
func (b *builder) contradiction(format string, args ...any) {
	b.fail(&Error{Reason: fmt.Sprintf(format, args...)})
}

// get is the effective value of a key of the table, nil if it has none.
func (b *builder) get(name string) any {
	if v, ok := b.values[name]; ok {
		return v
	}
	k := table().byName[name] // every name here is in the table; a test walks all
	if k.NoDefault {
		return nil
	}
	v, _ := parse(k.Type, k.Default)
	b.values[name] = v
	return v
}

func (b *builder) str(name string) string            { s, _ := b.get(name).(string); return s }
func (b *builder) boolean(name string) bool          { v, _ := b.get(name).(bool); return v }
func (b *builder) long(name string) int64            { n, _ := b.get(name).(int64); return n }
func (b *builder) int(name string) int               { return int(b.long(name)) }
func (b *builder) double(name string) float64        { f, _ := b.get(name).(float64); return f }
func (b *builder) ms(name string) time.Duration      { return millis(b.long(name)) }
func (b *builder) has(name string) bool              { return b.get(name) != nil }
func (b *builder) list(name string) []string         { l, _ := b.get(name).([]string); return l }
func (b *builder) seconds(name string) time.Duration { return times(b.long(name), time.Second) }
func (b *builder) minutes(name string) time.Duration { return times(b.long(name), time.Minute) }

// times multiplies without running over.
func times(n int64, unit time.Duration) time.Duration {
	if n > math.MaxInt64/int64(unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

// build fills the rooms' parts and checks what concerns several keys.
func (b *builder) build() *Config {
	c := &Config{values: b.values}
	b.broker(&c.Broker)
	b.listeners(&c.Listeners)
	b.socket(&c.Socket)
	b.zookeeper(&c.ZooKeeper)
	b.replication(&c.Replication)
	b.log(&c.Log)
	b.cleaner(&c.Cleaner)
	b.group(&c.Group)
	b.txn(&c.Txn)
	c.Topics = Topics{
		Partitions:        b.int("num.partitions"),
		ReplicationFactor: b.int("default.replication.factor"),
		Defaults:          b.topicDefaults(),
	}
	c.Controller = Controller{
		AutoRebalance:            b.boolean("auto.leader.rebalance.enable"),
		ImbalanceCheckInterval:   b.seconds("leader.imbalance.check.interval.seconds"),
		ImbalancePercentage:      b.int("leader.imbalance.per.broker.percentage"),
		SocketTimeout:            b.ms("controller.socket.timeout.ms"),
		DefaultReplicationFactor: c.Topics.ReplicationFactor,
		DefaultPartitions:        c.Topics.Partitions,
		MinISR:                   b.int("min.insync.replicas"),
		UncleanElection:          b.boolean("unclean.leader.election.enable"),
	}
	c.HTTP = HTTP{Listen: b.str("barnabas.http.listen"), Pprof: b.boolean("barnabas.http.pprof")}
	c.topicDefaults = b.topics
	for name := range table().byName { // so that DescribeConfigs finds defaults typed
		b.get(name)
	}
	return c
}

func (b *builder) broker(o *Broker) {
	*o = Broker{
		ID:                             kafka.BrokerID(b.long("broker.id")),
		GenerateID:                     b.boolean("broker.id.generation.enable"),
		ReservedMax:                    int32(b.long("reserved.broker.max.id")),
		Rack:                           b.str("broker.rack"),
		RequestTimeout:                 b.ms("request.timeout.ms"),
		ConnectTimeout:                 b.ms("socket.connection.setup.timeout.ms"),
		ConnectTimeoutMax:              b.ms("socket.connection.setup.timeout.max.ms"),
		ControlledShutdown:             b.boolean("controlled.shutdown.enable"),
		ControlledShutdownRetries:      b.int("controlled.shutdown.max.retries"),
		ControlledShutdownRetryBackoff: b.ms("controlled.shutdown.retry.backoff.ms"),
		DeleteTopics:                   b.boolean("delete.topic.enable"),
		AutoCreateTopics:               b.boolean("auto.create.topics.enable"),
		FetchMaxBytes:                  b.int("fetch.max.bytes"),
		FetchSessionSlots:              b.int("max.incremental.fetch.session.cache.slots"),
		FastDeath:                      b.str("barnabas.fast.death"),
	}
	switch {
	case b.long("node.id") != b.long("broker.id"):
		b.contradiction("You must set `node.id` to the same value as `broker.id`.")
	case o.GenerateID && (o.ID < -1 || int32(o.ID) > o.ReservedMax):
		b.contradiction("broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id; broker.id is %d, reserved.broker.max.id is %d", o.ID, o.ReservedMax)
	case !o.GenerateID && o.ID < 0:
		b.contradiction("broker.id must be greater than or equal to 0; broker.id is %d and broker.id.generation.enable is false", o.ID)
	}
	if roles := b.list("process.roles"); len(roles) > 0 {
		b.contradiction("process.roles is %s: Barnabas runs with ZooKeeper, not with KRaft; take process.roles out and set zookeeper.connect", strings.Join(roles, ","))
	}
	if names := b.str("controller.listener.names"); names != "" {
		b.contradiction("controller.listener.names must be empty when not running in KRaft mode: [%s]", names)
	}
}

func (b *builder) socket(o *Socket) {
	*o = Socket{
		SendBufferBytes:     b.int("socket.send.buffer.bytes"),
		ReceiveBufferBytes:  b.int("socket.receive.buffer.bytes"),
		MaxRequestBytes:     b.int("socket.request.max.bytes"),
		MaxConnections:      b.int("max.connections"),
		MaxConnectionsPerIP: b.int("max.connections.per.ip"),
		Backlog:             b.int("socket.listen.backlog.size"),
		MaxCreationRate:     b.int("max.connection.creation.rate"),
		QueuedMaxBytes:      b.long("queued.max.request.bytes"),
		MaxIdle:             b.ms("connections.max.idle.ms"),
		Pollers:             b.int("barnabas.socket.pollers"),
	}
	o.MaxConnectionsPerIPOverrides = b.ipOverrides()
	o.Listeners = b.listenerLimits()
	if o.MaxConnectionsPerIP == 0 && len(o.MaxConnectionsPerIPOverrides) == 0 {
		b.contradiction("max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.")
	}
	if n := b.long("queued.max.request.bytes"); n > 0 && n < b.long("socket.request.max.bytes") {
		b.contradiction("queued.max.request.bytes must be larger or equal to socket.request.max.bytes")
	}
	delay, idle := b.long("connection.failed.authentication.delay.ms"), b.long("connections.max.idle.ms")
	if idle >= 0 && delay >= idle {
		b.contradiction("connection.failed.authentication.delay.ms=%d should always be less than connections.max.idle.ms=%d to prevent failed authentication responses from timing out", delay, idle)
	}
}

// listenerLimits reads the limits under listener.name.<listener>.
func (b *builder) listenerLimits() map[string]ListenerLimits {
	out := map[string]ListenerLimits{}
	for name, v := range b.values {
		rest, ok := strings.CutPrefix(name, listenerPrefix)
		listener, key, found := strings.Cut(rest, ".")
		n, isInt := v.(int64)
		if !ok || !found || !isInt || key != "max.connections" && key != "max.connection.creation.rate" {
			continue
		}
		listener = strings.ToUpper(listener)
		l, there := out[listener]
		if !there {
			l = ListenerLimits{-1, -1}
		}
		if key == "max.connections" {
			l.MaxConnections = int(n)
		} else {
			l.MaxCreationRate = int(n)
		}
		out[listener] = l
	}
	return out
}

// ipOverrides reads host:count,host:count.
func (b *builder) ipOverrides() map[string]int {
	text := b.str("max.connections.per.ip.overrides")
	if text == "" {
		return nil
	}
	out := map[string]int{}
	for _, e := range splitList(text) {
		i := strings.LastIndexByte(e, ':')
		if i < 0 {
			b.contradiction("Error parsing configuration property 'max.connections.per.ip.overrides': %q is not host:count", e)
			continue
		}
		host, count := trim(e[:i]), trim(e[i+1:])
		n, err := strconv.ParseInt(count, 10, 32)
		switch {
		case err != nil:
			b.contradiction("Error parsing configuration property 'max.connections.per.ip.overrides': %q is not a number", count)
		case !validHost(host):
			b.contradiction("max.connections.per.ip.overrides contains invalid addresses : %s", host)
		default:
			out[host] = int(n)
		}
	}
	return out
}

func (b *builder) zookeeper(o *ZooKeeper) {
	*o = ZooKeeper{
		Connect:           b.str("zookeeper.connect"),
		SessionTimeout:    b.ms("zookeeper.session.timeout.ms"),
		ConnectionTimeout: b.ms("zookeeper.connection.timeout.ms"),
		MaxInFlight:       b.int("zookeeper.max.in.flight.requests"),
	}
	if !b.has("zookeeper.connection.timeout.ms") {
		o.ConnectionTimeout = o.SessionTimeout
	}
}

func (b *builder) replication(o *Replication) {
	*o = Replication{
		LagTimeMax:                      b.ms("replica.lag.time.max.ms"),
		FetchMaxBytes:                   b.int("replica.fetch.max.bytes"),
		FetchResponseMaxBytes:           b.int("replica.fetch.response.max.bytes"),
		FetchMinBytes:                   b.int("replica.fetch.min.bytes"),
		FetchWaitMax:                    b.ms("replica.fetch.wait.max.ms"),
		FetchBackoff:                    b.ms("replica.fetch.backoff.ms"),
		SocketTimeout:                   b.ms("replica.socket.timeout.ms"),
		SocketReceiveBufferBytes:        b.int("replica.socket.receive.buffer.bytes"),
		Fetchers:                        b.int("num.replica.fetchers"),
		HighWatermarkCheckpointInterval: b.ms("replica.high.watermark.checkpoint.interval.ms"),
		FlushWhenAlone:                  b.boolean("log.flush.when.alone"),
		RackAwareSelector:               strings.HasSuffix(b.str("replica.selector.class"), ".RackAwareReplicaSelector"),
		LeaderThrottle:                  b.throttle("leader.replication.throttled.rate"),
		FollowerThrottle:                b.throttle("follower.replication.throttled.rate"),
		QuotaSamples:                    b.int("replication.quota.window.num"),
		QuotaWindow:                     time.Duration(b.int("replication.quota.window.size.seconds")) * time.Second,
		LogDirsThrottle:                 b.throttle("replica.alter.log.dirs.io.max.bytes.per.second"),
	}
	if o.FetchWaitMax > o.SocketTimeout {
		b.contradiction("replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts")
	}
	if o.FetchWaitMax > o.LagTimeMax {
		b.contradiction("replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR")
	}
}

// throttle is a rate; without one there is no bound.
func (b *builder) throttle(name string) int64 {
	if !b.has(name) {
		return math.MaxInt64
	}
	return b.long(name)
}

func (b *builder) log(o *Log) {
	*o = Log{
		RecoveryThreads:                    b.int("num.recovery.threads.per.data.dir"),
		MinFreeBytes:                       b.long("barnabas.log.dir.min.free.bytes"),
		StallTimeout:                       b.ms("barnabas.log.dir.stall.timeout.ms"),
		MaxOpenFiles:                       b.int("barnabas.log.max.open.files"),
		StrayRetention:                     b.ms("barnabas.log.stray.retention.ms"),
		RetentionCheckInterval:             b.ms("log.retention.check.interval.ms"),
		FlushSchedulerInterval:             b.ms("log.flush.scheduler.interval.ms"),
		FlushOffsetCheckpointInterval:      b.ms("log.flush.offset.checkpoint.interval.ms"),
		FlushStartOffsetCheckpointInterval: b.ms("log.flush.start.offset.checkpoint.interval.ms"),
		InitialTaskDelay:                   b.ms("log.initial.task.delay.ms"),
		ProducerIDExpiration:               b.ms("producer.id.expiration.ms"),
		ProducerIDExpirationCheck:          b.ms("producer.id.expiration.check.interval.ms"),
	}
	if b.has("num.replica.alter.log.dirs.threads") {
		o.MoveThreads = b.int("num.replica.alter.log.dirs.threads")
	}
	dirs := b.str("log.dir")
	if b.has("log.dirs") {
		dirs = b.str("log.dirs")
	}
	for _, d := range splitList(dirs) { // Kafka drops empty ones here, unlike in lists
		if d != "" {
			o.Dirs = append(o.Dirs, d)
		}
	}
	if len(o.Dirs) == 0 {
		b.contradiction("At least one log directory must be defined via log.dirs or log.dir.")
	}
}

func (b *builder) cleaner(o *Cleaner) {
	*o = Cleaner{
		Enable:              b.boolean("log.cleaner.enable"),
		Threads:             b.int("log.cleaner.threads"),
		IOMaxBytesPerSecond: b.double("log.cleaner.io.max.bytes.per.second"),
		DedupeBufferBytes:   b.long("log.cleaner.dedupe.buffer.size"),
		IOBufferBytes:       b.int("log.cleaner.io.buffer.size"),
		IOBufferLoadFactor:  b.double("log.cleaner.io.buffer.load.factor"),
		Backoff:             b.ms("log.cleaner.backoff.ms"),
	}
	switch {
	case o.Threads == 0: // Kafka dies by a division here
		b.contradiction("log.cleaner.threads must be at least 1; set log.cleaner.enable=false to run no cleaner")
	case o.DedupeBufferBytes/int64(o.Threads) <= 1<<20:
		b.contradiction("log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.")
	}
}

func (b *builder) group(o *Group) {
	*o = Group{
		MinSessionTimeout:      b.ms("group.min.session.timeout.ms"),
		MaxSessionTimeout:      b.ms("group.max.session.timeout.ms"),
		InitialRebalanceDelay:  b.ms("group.initial.rebalance.delay.ms"),
		MaxSize:                b.int("group.max.size"),
		MetadataMaxBytes:       b.int("offset.metadata.max.bytes"),
		LoadBufferBytes:        b.int("offsets.load.buffer.size"),
		Retention:              b.minutes("offsets.retention.minutes"),
		RetentionCheckInterval: b.ms("offsets.retention.check.interval.ms"),
		CommitTimeout:          b.ms("offsets.commit.timeout.ms"),
		Codec:                  int8(b.long("offsets.topic.compression.codec")),
		Topic: InternalTopic{
			Partitions:        b.int("offsets.topic.num.partitions"),
			ReplicationFactor: b.int("offsets.topic.replication.factor"),
			SegmentBytes:      b.long("offsets.topic.segment.bytes"),
		},
	}
	if n := b.long("offsets.topic.compression.codec"); n < 0 || n > 4 {
		b.contradiction("Unknown compression type id: %d; offsets.topic.compression.codec is 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)", n)
	}
	if acks := b.int("offsets.commit.required.acks"); acks < -1 || acks > o.Topic.ReplicationFactor {
		b.contradiction("offsets.commit.required.acks must be greater or equal to -1 and less or equal to offsets.topic.replication.factor")
	}
}

func (b *builder) txn(o *Txn) {
	*o = Txn{
		MinISR:                b.int("transaction.state.log.min.isr"),
		LoadBufferBytes:       b.int("transaction.state.log.load.buffer.size"),
		IDExpiration:          b.ms("transactional.id.expiration.ms"),
		MaxTimeout:            b.ms("transaction.max.timeout.ms"),
		AbortTimedOutInterval: b.ms("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		RemoveExpiredInterval: b.ms("transaction.remove.expired.transaction.cleanup.interval.ms"),
		PartitionVerification: b.boolean("transaction.partition.verification.enable"),
		Topic: InternalTopic{
			Partitions:        b.int("transaction.state.log.num.partitions"),
			ReplicationFactor: b.int("transaction.state.log.replication.factor"),
			SegmentBytes:      b.long("transaction.state.log.segment.bytes"),
		},
	}
}
