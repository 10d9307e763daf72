package brokertest

import (
	"log/slog"
	"maps"
)

// Option changes what Start starts.
type Option func(*options)

type options struct {
	brokers   int
	onDisk    bool
	zookeeper string
	configs   map[string]string
	topics    []Topic
	logger    *slog.Logger
}

func defaults() *options {
	return &options{
		brokers: 1,
		logger:  slog.New(slog.DiscardHandler),
		configs: map[string]string{
			"offsets.topic.num.partitions":             "4",
			"offsets.topic.replication.factor":         "1",
			"transaction.state.log.num.partitions":     "4",
			"transaction.state.log.replication.factor": "1",
			"transaction.state.log.min.isr":            "1",
			"group.initial.rebalance.delay.ms":         "0",
		},
	}
}

// Brokers sets how many brokers are started, with the ids 0 to n-1. Default 1.
func Brokers(n int) Option { return func(o *options) { o.brokers = n } }

// OnDisk keeps data in t.TempDir instead of in memory, so that the way of a
// real broker is gone: files, page cache, sendfile.
func OnDisk() Option { return func(o *options) { o.onDisk = true } }

// ZooKeeper takes an ensemble that runs already, host:port,host:port/chroot,
// instead of starting one. Kill then leaves the broker's session to its timeout.
func ZooKeeper(connect string) Option { return func(o *options) { o.zookeeper = connect } }

// Config sets a broker config, by its name in server.properties, for all brokers.
// The names broker.id, listeners, log.dirs and zookeeper.connect are Start's own.
// Without it, there are 4 partitions for offsets, one replica of internal topics,
// and groups do not wait before their first rebalance.
func Config(key, value string) Option { return func(o *options) { o.configs[key] = value } }

// Topics are created before Start returns. May be given several times.
func Topics(topics ...Topic) Option {
	return func(o *options) { o.topics = append(o.topics, topics...) }
}

// Logger takes what brokers and ZooKeeper log. Default: nobody does. It must
// outlive the test.
func Logger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// Topic describes a topic to create.
type Topic struct {
	Name string
	// Partitions and ReplicationFactor are 1 if left 0. See the package comment
	// on what replicas are worth at present.
	Partitions, ReplicationFactor int
	// Configs are overrides by name, as cleanup.policy.
	Configs map[string]string
}

func (t Topic) configs() map[string]*string {
	out := make(map[string]*string, len(t.Configs))
	for k, v := range maps.All(t.Configs) {
		out[k] = &v
	}
	return out
}
