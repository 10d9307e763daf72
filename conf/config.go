package conf

import (
	"time"

	"barnabas/internal/kafka"
)

// Config is everything that a broker was told, checked and typed, grouped by
// the room that reads it. It is immutable: a change of dynamic configs makes a
// new one (WithDynamic).
//
// Durations longer than 292 years (Kafka's default of several keys is the
// largest 64-bit number of milliseconds) are cut to the largest time.Duration,
// which stands for "never".
type Config struct {
	Broker      Broker
	Listeners   Listeners
	Socket      Socket
	ZooKeeper   ZooKeeper
	Controller  Controller
	Replication Replication
	Log         Log
	Cleaner     Cleaner
	Topics      Topics
	Group       Group
	Txn         Txn
	HTTP        HTTP

	// static holds the values as given by file, environment and overrides;
	// perBroker and clusterWide the dynamic layers above it.
	static                 map[string]setting
	perBroker, clusterWide map[string]string
	accepted               []string // of --accept-missing
	// values holds every key's effective value, typed; nil where there is none.
	values map[string]any
	// topicDefaults holds every topic config's value of a topic without overrides.
	topicDefaults map[string]any
}

// Broker is who the broker is, and what fits nowhere else.
type Broker struct {
	// ID is -1 when it has to come from meta.properties or from ZooKeeper.
	ID          kafka.BrokerID
	GenerateID  bool  // broker.id.generation.enable
	ReservedMax int32 // generated ids are above it
	Rack        string
	RequestTimeout, ConnectTimeout,
	ConnectTimeoutMax time.Duration // the broker as somebody's client
	ControlledShutdown             bool
	ControlledShutdownRetries      int
	ControlledShutdownRetryBackoff time.Duration
	DeleteTopics, AutoCreateTopics bool
	FetchMaxBytes                  int
	FetchSessionSlots              int
	FastDeath                      string // barnabas.fast.death: auto, on or off
}

// HTTP is where health and metrics are answered (barnabas.http.*, ours).
type HTTP struct {
	Listen string // host:port; "": nowhere
	Pprof  bool
}

// Protocol is how a listener talks.
type Protocol string

// The protocols of Kafka.
const (
	Plaintext     Protocol = "PLAINTEXT"
	SSL           Protocol = "SSL"
	SASLPlaintext Protocol = "SASL_PLAINTEXT"
	SASLSSL       Protocol = "SASL_SSL"
)

// Listener is one NAME://host:port.
type Listener struct {
	Name     string // upper case
	Protocol Protocol
	Host     string // "" is every interface, or the host's own name when advertised
	Port     int    // 0 is any free one
}

// Listeners is where the broker listens and what it tells others.
type Listeners struct {
	Bind       []Listener
	Advertised []Listener
	// InterBroker is the name of the listener that brokers use among themselves;
	// ControlPlane that for the controller's requests, "" if it has none of its
	// own.
	InterBroker, ControlPlane string
	// ProtocolMap is listener.security.protocol.map, names in upper case.
	ProtocolMap map[string]Protocol
}

// Socket bounds connections and requests.
type Socket struct {
	SendBufferBytes, ReceiveBufferBytes int // -1: the system's choice
	MaxRequestBytes                     int
	MaxConnections, MaxConnectionsPerIP int
	MaxConnectionsPerIPOverrides        map[string]int
	Backlog                             int           // connections that wait to be accepted
	MaxCreationRate                     int           // accepted connections per second
	QueuedMaxBytes                      int64         // memory for requests that are read; <= 0: no bound
	MaxIdle                             time.Duration // negative: for ever
	Pollers                             int           // threads that wait for connections and serve what needs no waiting; -1: as it suits the machine
	// Listeners holds the limits of listeners that have their own, by name in
	// upper case.
	Listeners map[string]ListenerLimits
}

// ListenerLimits are the limits of one listener, beside those of the broker; -1
// where it has none of its own.
type ListenerLimits struct{ MaxConnections, MaxCreationRate int }

// ZooKeeper is where coordination lives.
type ZooKeeper struct {
	Connect                           string // h1:p1,h2:p2/chroot
	SessionTimeout, ConnectionTimeout time.Duration
	MaxInFlight                       int
}

// Controller is what only the elected controller reads.
type Controller struct {
	AutoRebalance            bool
	ImbalanceCheckInterval   time.Duration
	ImbalancePercentage      int
	SocketTimeout            time.Duration
	DefaultReplicationFactor int
	DefaultPartitions        int
	MinISR                   int
	UncleanElection          bool
}

// Replication is how followers copy and when they count.
type Replication struct {
	LagTimeMax                      time.Duration
	FetchMaxBytes                   int // of one partition
	FetchResponseMaxBytes           int
	FetchMinBytes                   int
	FetchWaitMax, FetchBackoff      time.Duration
	SocketTimeout                   time.Duration
	SocketReceiveBufferBytes        int
	Fetchers                        int // per source broker
	HighWatermarkCheckpointInterval time.Duration
	FlushWhenAlone                  bool // log.flush.when.alone, ours
	RackAwareSelector               bool // replica.selector.class names RackAwareReplicaSelector
	// Bytes per second; the largest int64 without a throttle. The first two are
	// for the replicas that a topic's throttled.replicas name.
	LeaderThrottle, FollowerThrottle, LogDirsThrottle int64
	// The rates of the first two are measured over so many samples of a size.
	QuotaSamples int
	QuotaWindow  time.Duration
}

// Log is what the whole log manager shares; what may differ by topic stands in
// Topic.
type Log struct {
	Dirs            []string
	RecoveryThreads int // per directory
	// MinFreeBytes is kept free on each disk; -1 is a hundredth, at most 1 GiB.
	MinFreeBytes int64
	// StallTimeout takes a directory offline that does not answer; 0 is never.
	StallTimeout time.Duration
	// StrayRetention is how long logs are kept that were set aside; negative: for ever.
	StrayRetention time.Duration
	// MoveThreads is how many logs are moved between directories at a time; 0: as
	// many as there are directories.
	MoveThreads int
	// MaxOpenFiles bounds open segment files; 0 is half of the process's limit.
	MaxOpenFiles                                    int
	RetentionCheckInterval                          time.Duration
	FlushSchedulerInterval                          time.Duration
	FlushOffsetCheckpointInterval                   time.Duration
	FlushStartOffsetCheckpointInterval              time.Duration
	InitialTaskDelay                                time.Duration
	ProducerIDExpiration, ProducerIDExpirationCheck time.Duration
}

// Cleaner is the compaction threads' share of the machine.
type Cleaner struct {
	Enable              bool
	Threads             int
	IOMaxBytesPerSecond float64
	DedupeBufferBytes   int64
	IOBufferBytes       int
	IOBufferLoadFactor  float64
	Backoff             time.Duration
}

// Topics is what a new topic gets that does not say otherwise.
type Topics struct {
	Partitions        int
	ReplicationFactor int
	Defaults          Topic // the effective configs of a topic without any of its own
}

// Group is the group coordinator's part.
type Group struct {
	MinSessionTimeout, MaxSessionTimeout time.Duration
	InitialRebalanceDelay                time.Duration
	MaxSize                              int
	MetadataMaxBytes                     int
	LoadBufferBytes                      int
	Retention, RetentionCheckInterval    time.Duration
	CommitTimeout                        time.Duration
	Topic                                InternalTopic
	Codec                                int8 // batch codec of __consumer_offsets: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd
}

// Txn is the transaction coordinator's part.
type Txn struct {
	Topic                 InternalTopic
	MinISR                int
	LoadBufferBytes       int
	IDExpiration          time.Duration
	MaxTimeout            time.Duration
	AbortTimedOutInterval time.Duration
	RemoveExpiredInterval time.Duration
	PartitionVerification bool
}

// InternalTopic is how a coordinator's topic is made.
type InternalTopic struct {
	Partitions        int
	ReplicationFactor int
	SegmentBytes      int64
}

// Validation is how closely the records of a compressed batch are looked at
// (record.validation, ours).
type Validation string

// Depths of validation.
const (
	ValidateFull    Validation = "full"
	ValidateSampled Validation = "sampled"
	ValidateHeader  Validation = "header"
)

// Topic is the effective configuration of one topic: its own overrides above
// the broker's values.
type Topic struct {
	Compact, Delete                       bool   // cleanup.policy
	CompressionType                       string // producer, uncompressed, gzip, snappy, lz4, zstd
	GzipLevel, LZ4Level, ZstdLevel        int
	DeleteRetention                       time.Duration
	FileDeleteDelay                       time.Duration
	FlushMessages                         int64
	FlushInterval                         time.Duration
	IndexIntervalBytes                    int
	MinCompactionLag, MaxCompactionLag    time.Duration
	MaxMessageBytes                       int
	DownConversion                        bool
	LogAppendTime                         bool          // message.timestamp.type
	TimestampBeforeMax, TimestampAfterMax time.Duration // with message.timestamp.difference.max.ms applied
	MinCleanableRatio                     float64
	MinISR                                int
	Preallocate                           bool
	RetentionBytes                        int64         // negative: unlimited
	Retention                             time.Duration // negative: unlimited
	SegmentBytes                          int64
	SegmentIndexBytes                     int
	SegmentJitter, SegmentAge             time.Duration // segment.jitter.ms, segment.ms
	UncleanElection                       bool
	Validation                            Validation
	LeaderThrottledReplicas               []string
	FollowerThrottledReplicas             []string
}
