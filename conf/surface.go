package conf

import "errors"

// Warning is something that the operator should know and that does not stop
// the broker.
type Warning struct {
	Key  string
	Text string
}

// Error is one value that cannot be. Error() is Kafka's text where Kafka has
// one, with the allowed range and the place that the value stands at.
type Error struct {
	Key, Value string
	Reason     string
	Where      string // "server.properties:12", "--override", "environment KAFKA_X"; "" for dynamic and topic configs
}

func (e *Error) Error() string { return e.Reason }

// ErrUnknownTopicConfig is wrapped when a topic config has a name that nobody
// knows.
var ErrUnknownTopicConfig = errors.New("unknown topic config")

// Load reads a .properties or .toml file (path may be empty) with the overrides
// ("key=value") and environment ("KAFKA_LOG_DIRS=...") above it. accept names keys
// (--accept-missing) that may be set although this broker does not act on them
// yet. The error joins every *Error found, not only the first.
func Load(path string, overrides, environ []string, accept ...string) (*Config, []Warning, error) {
	return nil, nil, errors.New("conf: being built")
}

// FromMap is Load for values that are at hand.
func FromMap(values map[string]string, accept ...string) (*Config, []Warning, error) {
	return nil, nil, errors.New("conf: being built")
}

// WithDynamic returns the configuration under dynamic configs from ZooKeeper:
// clusterWide from /config/brokers/<default>, perBroker from /config/brokers/<id>.
// What is invalid or not dynamic there is left out and warned of, never fatal.
func (c *Config) WithDynamic(perBroker, clusterWide map[string]string) (*Config, []Warning) {
	return c, nil
}

// CheckDynamic says whether a set of dynamic broker configs may be stored, for
// one broker or for the cluster's default.
func (c *Config) CheckDynamic(values map[string]string, perBroker bool) error { return nil }

// Topic is the effective configuration of a topic with these overrides. The
// error is an *Error, wraps ErrUnknownTopicConfig for an unknown name, and has
// Kafka's text, ready for INVALID_CONFIG.
func (c *Config) Topic(overrides map[string]string) (Topic, error) { return c.Topics.Defaults, nil }

// DescribeBroker answers for the broker itself. names nil: all.
func (c *Config) DescribeBroker(names []string) []Entry { return nil }

// DescribeClusterDefault answers for the cluster-wide default broker: only what
// is set dynamically there.
func (c *Config) DescribeClusterDefault(names []string) []Entry { return nil }

// DescribeTopic answers for a topic with these overrides. names nil: all. Names
// that do not exist are left out.
func (c *Config) DescribeTopic(overrides map[string]string, names []string) []Entry { return nil }

// TopicConfigType is the type of a topic config, Unknown if there is no such.
func TopicConfigType(name string) Type { return Unknown }

// BrokerConfigType is the type of a broker config, Unknown if there is no such.
func BrokerConfigType(name string) Type { return Unknown }
