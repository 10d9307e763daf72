// Package conf knows every configuration key once: its name, type, default,
// validator, documentation, whether it may change while the broker runs, and
// whether this broker acts on it. From that one table come the reading of
// server.properties and server.toml, the errors and warnings at start, what
// DescribeConfigs answers, the checks of topic configs, and the commented
// conf/server.toml.
//
// Names, types, units, defaults and precedence are Apache Kafka 3.9's in
// ZooKeeper mode. Other rooms never see a key's name: they get the fields of
// Config and Topic.
//
// Precedence, highest first: --override, KAFKA_* environment, file, default.
// Dynamic configs stand above all of them, a broker's own above the cluster's.
package conf
